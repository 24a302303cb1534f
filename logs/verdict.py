"""Whether an output is what its run printed: the count and checksum of what was read against what the containers reported."""

from __future__ import annotations

from collections.abc import Sequence

from logs import cksum
from logs.models import Output, OutputStream


def ran(stream: OutputStream) -> bool:
    """Whether anything was heard of the container: bytes, a gap, or its end."""
    return bool(stream.ended or stream.cursor or stream.raw_bytes or stream.ahead or stream.gaps)


def judge_stream(stream: OutputStream) -> tuple[str, str]:
    """The verdict on one container, and why, as part of a sentence."""
    if stream.expected_bytes is None or stream.expected_cksum is None:
        if stream.gaps:
            return Output.GAP, f"{stream.container}: bytes are missing{_where(stream)}"
        return Output.UNPROVEN, f"{stream.container} could not report what it printed"
    missing = stream.expected_bytes - stream.raw_bytes
    if missing > 0 and _lacks_only_returns(stream):
        return (
            Output.VERIFIED,
            f"{stream.container}: {stream.raw_bytes} bytes ({missing} carriage returns at ends of lines left out)",
        )
    if missing > 0:
        return Output.GAP, f"{stream.container}: {missing} of {stream.expected_bytes} bytes are missing{_where(stream, missing)}"
    if missing < 0:
        return Output.GAP, f"{stream.container}: {-missing} more bytes were read than it reported ({stream.expected_bytes})"
    if cksum.finish(stream.crc, stream.raw_bytes) != stream.expected_cksum:
        return Output.GAP, f"{stream.container}: its {stream.raw_bytes} bytes are not the ones it reported (checksums differ)"
    return Output.VERIFIED, f"{stream.container}: {stream.raw_bytes} bytes"


def _lacks_only_returns(stream: OutputStream) -> bool:
    """Whether what is missing are carriage returns: containerd leaves out the one before a newline when it writes a pod's log."""
    if stream.bare_bytes != stream.expected_bare_bytes:
        return False
    return cksum.finish(stream.bare_crc, stream.bare_bytes) == stream.expected_bare_cksum


def _where(stream: OutputStream, total: int = 0) -> str:
    """The places of the gaps. With `total` bytes missing, the one gap whose size was not known has what the others leave."""
    left = total - sum(missing or 0 for _, missing in stream.gaps)
    only = left > 0 and sum(not missing for _, missing in stream.gaps) == 1
    places = [f"{missing or (left if only else 'an unknown number')} at byte {offset}" for offset, missing in stream.gaps[:3]]
    more = f" and {len(stream.gaps) - 3} more gaps" if len(stream.gaps) > 3 else ""
    return f" ({', '.join(places)}{more})" if places else ""


def judge(output: Output, streams: Sequence[OutputStream]) -> tuple[str, str]:
    """The verdict on the whole output and one sentence that says why.

    VERIFIED: every container that ran reported count and checksum, and they are those of what was read and stored.
    GAP: bytes are missing. UNPROVEN: a container could report nothing, or none ran.
    """
    judged = [judge_stream(stream) for stream in streams if ran(stream)]
    reasons = {verdict: [why for given, why in judged if given == verdict] for verdict, _ in judged}
    if output.dropped:
        cut = f"cut at byte {output.size}: {output.dropped} more bytes were printed and not stored"
        reasons.setdefault(Output.GAP, []).append(cut)
    for verdict in (Output.GAP, Output.UNPROVEN, Output.VERIFIED):
        if verdict in reasons:
            return verdict, "; ".join(reasons[verdict])[:300]
    return Output.UNPROVEN, "no container ran"
