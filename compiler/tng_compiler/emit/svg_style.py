"""The style sheet of the picture: one set of colours for light grounds, one for dark ones."""

from __future__ import annotations

_LIGHT = {
    "ground": "#ffffff",
    "host": "#f5f7fa",
    "box": "#ffffff",
    "gate": "#e8f0fe",
    "line": "#5f6b7a",
    "ink": "#1f2733",
    "soft": "#5f6b7a",
    "tunnel": "#1a56c4",
    "proof": "#0f7b3f",
    "bad": "#b3261e",
    "warn": "#8a5a00",
}
_DARK = {
    "ground": "#0d1117",
    "host": "#161b22",
    "box": "#1c232d",
    "gate": "#16305a",
    "line": "#8b97a6",
    "ink": "#e6ebf1",
    "soft": "#a3afbd",
    "tunnel": "#7fb0ff",
    "proof": "#5fd38d",
    "bad": "#ff8a80",
    "warn": "#f0c060",
}


def _colours(of: dict[str, str]) -> str:
    """Return rules with colours written out: not every reader of SVG knows variables."""
    strokes = {"tunnel": "tunnel", "proof": "proof", "bad": "bad", "plain": "line", "box": "line", "host": "line"}
    fills = {"ground": "ground", "host": "host", "box": "box", "gate": "gate", "small": "soft"}
    heads = {f"{kind}-head": strokes[kind] for kind in ("plain", "tunnel", "proof", "bad")}
    return "\n".join(
        [
            f"text{{fill:{of['ink']}}}",
            *(f".{name}{{fill:{of[colour]}}}" for name, colour in (fills | heads).items()),
            *(f".{name}{{stroke:{of[colour]}}}" for name, colour in (strokes | {"gate": "tunnel"}).items()),
            *(f".says-{name}{{fill:{of[name]}}}" for name in ("bad", "warn")),
        ]
    )


STYLE = f"""
text{{font:12px ui-monospace,monospace}}
.title{{font-size:17px;font-weight:bold}}
.strong{{font-size:13px;font-weight:bold}}
.small{{font-size:11px}}
.host{{stroke-dasharray:5 4}}
.gate{{stroke-width:2}}
path{{fill:none;stroke-width:1.5}}
.tunnel{{stroke-width:4}}
.proof{{stroke-dasharray:6 4}}
.bad{{stroke-dasharray:2 4}}
{_colours(_LIGHT)}
@media (prefers-color-scheme: dark){{
{_colours(_DARK)}
}}
"""
