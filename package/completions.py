"""Completion for bash, zsh and fish: static text, so that the TAB key starts no Python."""

from __future__ import annotations

from collections.abc import Iterable

from package.programs import Command, Option, Program


def bash(program: Program) -> str:
    """For /usr/share/bash-completion/completions/NAME."""
    function = "_" + program.name.replace("-", "_")
    commands = " ".join(each.name for each in program.commands)
    lines = [f"# bash completion for {program.name}", f"{function}() {{", "    local cur prev command word"]
    lines += ['    cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=""', "    COMPREPLY=()"]
    # `=` is a word of its own to readline (COMP_WORDBREAKS, bash(1)).
    lines += ['    if [[ $cur == = ]]; then cur=""; elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi']
    lines += ['    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do', f'        case " {commands} " in']
    lines += ['            *" $word "*) command=$word; break ;;', "        esac", "    done"]
    lines += ["    case $command:$prev in"]
    for name, options in (("", program.options), *((each.name, each.options) for each in program.commands)):
        for option in options:
            if option.choices:
                patterns = "|".join(f"{name}:{each}" for each in option.names)
                words = " ".join(option.choices)
                lines += [f'        {patterns}) mapfile -t COMPREPLY < <(compgen -W "{words}" -- "$cur"); return ;;']
            elif option.value in ("DIR", "PATH"):
                patterns = "|".join(f"{name}:{each}" for each in option.names)
                lines += [f'        {patterns}) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;']
    lines += ["    esac", "    case $command in"]
    lines += [f'        "") words="{commands} {_words(program.options)}" ;;']
    lines += [f'        {each.name}) words="{_words(each.options)}" ;;' for each in program.commands]
    lines += ["    esac", "    if [[ -z $command || $cur == -* ]]; then"]
    lines += ['        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")', "    fi", "}"]
    lines[2] += " words"
    return "\n".join([*lines, f"complete -o default -F {function} {program.name}"]) + "\n"


def zsh(program: Program) -> str:
    """For /usr/share/zsh/vendor-completions/_NAME."""
    lines = [f"#compdef {program.name}", "", "local curcontext=$curcontext state line", "local -a commands"]
    lines += ["commands=("]
    lines += [f"    {_quoted(f'{each.name}:{_plain(each.help)}')}" for each in program.commands]
    lines += [")", "_arguments -C \\"]
    lines += [f"    {_specification(each)} \\" for each in program.options]
    lines += ["    '1: :->command' '*:: :->rest'", "case $state in"]
    lines += ["    command) _describe command commands ;;", "    rest)", "        case $line[1] in"]
    for command in program.commands:
        specifications = [_specification(each) for each in command.options]
        if command.arguments:
            specifications.append("'*:file:_files'")
        lines += [f"            {command.name}) _arguments {' '.join(specifications)} ;;"]
    return "\n".join([*lines, "        esac ;;", "esac"]) + "\n"


def fish(program: Program) -> str:
    """For /usr/share/fish/vendor_completions.d/NAME.fish."""
    lines = [f"# fish completion for {program.name}"]
    for command in program.commands:
        told = _quoted(_plain(command.help))
        lines += [f"complete -c {program.name} -n __fish_use_subcommand -f -a {command.name} -d {told}"]
    lines += [_fish_option(program.name, "__fish_use_subcommand", each) for each in program.options]
    for command in program.commands:
        condition = _quoted(f"__fish_seen_subcommand_from {command.name}")
        lines += [_fish_option(program.name, condition, each) for each in command.options]
        lines += _fish_files(program.name, condition, command)
    return "\n".join(lines) + "\n"


def _fish_files(program: str, condition: str, command: Command) -> list[str]:
    return [] if command.arguments else [f"complete -c {program} -n {condition} -f"]


def _fish_option(program: str, condition: str, option: Option) -> str:
    words = [f"complete -c {program} -n {condition}"]
    words += [f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in option.names]
    if option.choices:
        words.append(f"-x -a {_quoted(' '.join(option.choices))}")
    elif option.value:
        words.append("-r")
    return " ".join([*words, f"-d {_quoted(_plain(option.help))}"])


def _specification(option: Option) -> str:
    names = option.names
    told = _plain(option.help).replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    value = ""
    if option.choices:
        value = f":value:({' '.join(option.choices)})"
    elif option.value:
        value = f":{option.value}:{'_files -/' if option.value == 'DIR' else ' '}"
    exclusive = f"'({' '.join(names)})'" if len(names) > 1 else ""
    # With `=` the value may follow it as well as be the next word (zshcompsys(1), _arguments).
    written = [f"{each}=" if value and each.startswith("--") else each for each in names]
    alternatives = "{" + ",".join(written) + "}" if len(written) > 1 else written[0]
    return f"{exclusive}{alternatives}{_quoted(f'[{told}]{value}')}"


def _words(options: Iterable[Option]) -> str:
    return " ".join(name for option in options for name in option.names)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
