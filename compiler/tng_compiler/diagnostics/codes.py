"""Stable codes of everything the compiler has to say.

The hundreds are stages: ``TNG1xx`` text, ``TNG2xx`` shape, ``TNG3xx`` meaning, ``TNG4xx`` capture analysis, ``TNG5xx``
trust. A code keeps its number for ever; a retired one is never used again. What each means is in ``catalogue``: a code
without an entry there, or without a refusal case in the tests, fails the tests.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The value is what users see and search for."""

    NOT_JSON = "TNG101"
    NOT_UTF8 = "TNG102"
    BYTE_ORDER_MARK = "TNG103"
    WIDE_ENCODING = "TNG104"
    CONTROL_CHARACTER = "TNG105"
    LONE_SURROGATE = "TNG106"
    DUPLICATE_KEY = "TNG107"
    NOT_A_NUMBER = "TNG108"
    TOO_DEEP = "TNG109"
    TOO_LARGE = "TNG110"
    TRAILING_COMMA = "TNG111"
    COMMENT = "TNG112"
    WRONG_QUOTES = "TNG113"
    MISSING_COMMA = "TNG114"
    UNCLOSED = "TNG115"
    EMPTY_DOCUMENT = "TNG116"
    EXTRA_DATA = "TNG117"
    MISSING_COLON = "TNG118"
    MISSING_VALUE = "TNG119"
    UNQUOTED_NAME = "TNG120"
    BAD_ESCAPE = "TNG121"
    BAD_NUMBER = "TNG122"

    WRONG_TYPE = "TNG201"
    UNKNOWN_FIELD = "TNG202"
    NOT_SUPPORTED_YET = "TNG203"
    MISSING_FIELD = "TNG204"
    OUT_OF_RANGE = "TNG205"
    UNKNOWN_CHOICE = "TNG206"
    NO_MODE = "TNG207"
    SEVERAL_MODES = "TNG208"
    NO_ENTRIES = "TNG209"
    NULL_VALUE = "TNG210"
    EMPTY_TEXT = "TNG211"
    TOO_MANY_FAULTS = "TNG212"

    TRUST_CONFLICT = "TNG301"
    TRUST_MISSING = "TNG302"
    EMPTY_POLICY_IDS = "TNG303"
    BAD_HOST = "TNG304"
    HOST_BITS_SET = "TNG305"
    PORT_END_ALONE = "TNG306"
    PORT_END_BELOW_PORT = "TNG307"
    HOST_AND_IPSET = "TNG308"
    BAD_IPSET_NAME = "TNG309"
    BAD_CGROUP_PATH = "TNG310"
    EMPTY_DESTINATION = "TNG311"
    INGRESS_NEVER_REACHES = "TNG312"
    EGRESS_NEVER_RECEIVES = "TNG313"
    CAPTURE_UNSAID = "TNG314"
    CAPTURE_ALL = "TNG315"
    BAD_AA_ADDR = "TNG320"
    BAD_AS_ADDR = "TNG321"
    HEADERS_WITHOUT_SERVICE = "TNG322"
    BAD_HEADER = "TNG323"
    SKIP_WITH_PIN = "TNG324"
    SKIP_WITH_SERVICE = "TNG325"
    NO_TRUST_ANCHOR = "TNG326"
    SERVICE_REQUIRED = "TNG327"
    FIELD_OF_OTHER_MODEL = "TNG328"
    RELATIVE_PATH = "TNG329"

    # TNG4xx belong to plan/: capture analysis by region algebra.

    NO_ATTESTATION = "TNG501"
    SIGNATURE_UNCHECKED = "TNG502"
    PLAIN_HTTP_SERVICE = "TNG503"
