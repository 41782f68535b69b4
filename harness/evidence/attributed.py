"""Which trials carry their attributes: those in the sample, and those in which the candidate stands alone somewhere."""

import msgspec

from harness.core.attributes import AttributeReader, Attributes, in_flight_of
from harness.core.labels import Role
from harness.core.plain import PlainTrial
from harness.core.values import Trial
from harness.evidence.bets import TrialBets


def attributed(bets: TrialBets, trial: Trial | PlainTrial, reader: AttributeReader) -> TrialBets:
    """The bets of a trial with its attributes, where somebody asks for them. Raises as `AttributeReader.of`.

    What a request of a capture is like was said when it was sent first; later only the load is new, unless it differs then.
    """
    weight = reader.weight(bets.seq)
    shows = any(bet.odd is Role.CANDIDATE for bet in bets.bets)
    if not (shows or weight) or bets.repeat:
        return bets
    again = bets.captured and bets.pass_index > 0 and not shows
    attributes: Attributes = (in_flight_of(trial),) if again else reader.of(trial)
    return msgspec.structs.replace(bets, attributes=attributes, sampled=weight)
