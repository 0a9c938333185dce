"""Weighing an answer against the definition: whether it does harm, and whether it is worth its steps.

A form is measured beside the definition on points that were drawn, on points at which the two part,
and at infinity. It must not lose what the definition has, and must gain by more than luck; where no
form does, the definition stays, or a form stands in only where the definition has no value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from lossmith.derivations import points
from lossmith.derivations.answers import Answer
from lossmith.derivations.fallback import standing_in, with_fallback
from lossmith.derivations.machine import cost
from lossmith.derivations.measure import Judge
from lossmith.derivations.ulp import Doubles, Format
from lossmith.derivations.verdicts import STABLE

RUINED = 2.0**20  # ulp: nothing is left of a value that the definition has right
STEPS = (-5, -2, -1, 1, 2, 5)  # numbers beside one at which the definition is right by luck
CHEAPER = 0.9  # of the cost: worth a step
LUCK = 2.0  # bits that are lost by luck
SPARE = 6  # of the last bits that are left of a value: as good as none
FEWER, CLEARLY = 0.8, 2.0  # of the bits that are lost; times better beyond what is excused
WORSE = 1.5  # times the worst error that luck does not explain
HARMED, WEIGHED = 0.25, 200  # of the worst errors: so many larger are harm; points at which they are excused
FAR_BETTER = 0.5  # of the worst error: worth leaving a definition that is stable already
BESIDE = 24  # points in each format at which harm is weighed against conditioning


def kept(found: Sequence[Answer], root: Answer, tried: tuple[Judge, Judge, Judge, Judge], target: float) -> Answer:
    """Of the answers that do no harm and are worth their steps the first, unless the second is clearly better, with
    the definition beside it where that saves values; the definition where there is none."""
    fresh, other, edges, _ = tried
    both = fresh.joined(other)

    def better(forms: Iterable[Answer]) -> list[Answer]:
        return [a for a in forms if not worse(a, root, fresh, target) and not worse(a, root, other, target)
                and not dearer(a, root, both) and gained(a, root, both, edges, target)]

    other_forms = [f for f in found if f is not root]
    unsure = {f.term: _beyond_excuse(both, both.ulps(f.term)) > STABLE for f in other_forms}
    good = better(with_fallback(f, root, tried, unsure[f.term]) for f in other_forms) or better(
        standing_in(f, root) for f in other_forms)
    if len(good) == 2 and loss(good[1], both) + LUCK < loss(good[0], both):
        return good[1]
    return good[0] if good else root


def worse(answer: Answer, root: Answer, fresh: Judge, target: float) -> bool:
    """Whether the answer loses what the definition has: in some format it is off by far more at its worst, and by
    more than conditioning excuses, or it fails outright at a point where the definition is good."""
    if not fresh.count:
        return False
    after, before = fresh.ulps(answer.term), fresh.ulps(root.term)
    lost = np.nonzero((after > RUINED) & (before <= target))[0]
    for k in range(len(fresh.fmts)):
        rows = np.nonzero(fresh.kind == k)[0]
        worst = int(rows[np.argmax(after[rows])]) if len(rows) else -1
        # What inputs half a unit away explain is luck: near a root the one form or the other has it.
        if len(rows) and after[worst] > max(WORSE * before[rows].max(), STABLE, fresh.excused(worst)):
            return True
        harm = _unexcused(fresh, rows, after, before)
        if harm > STABLE and harm > WORSE * _unexcused(fresh, rows, before, after):
            return True
    worst_first = lost[np.argsort(-after[lost], kind="stable")][:BESIDE].tolist()
    return any(float(after[i]) > STABLE * fresh.excused(i) and not by_luck(root, fresh, i) for i in worst_first)


def by_luck(root: Answer, fresh: Judge, i: int) -> bool:
    """Whether the definition is right at a point but ruined right beside it."""
    here, fmt = fresh.point(i), fresh.fmt(i)
    beside = [{**here, n: points.step(v, s, fmt)} for n, v in here.items() for s in STEPS]
    near = fresh.at({n: np.array([p[n] for p in beside]) for n in here}, fmt)
    return bool(near.count and float(near.ulps(root.term).max()) > RUINED / STABLE)


def _unexcused(fresh: Judge, rows: npt.NDArray[np.int64], one: Doubles, other: Doubles) -> float:
    """The worst error of one form beyond what conditioning excuses, of the points where it is worst beside another."""
    with np.errstate(invalid="ignore"):
        ratio = np.nan_to_num(one[rows] / np.maximum(other[rows], 1.0), nan=1.0)
    order = rows[np.argsort(-ratio, kind="stable")]
    # The worst may all be near one root, which excuses them.
    spread = order[BESIDE:][:: max(1, (len(order) - BESIDE) // BESIDE)]
    poor = np.concatenate([order[:BESIDE], spread])
    return max((float(one[i] / fresh.excused(i)) for i in poor.tolist() if one[i] > STABLE), default=0.0)


def dearer(answer: Answer, root: Answer, tried: Judge) -> bool:
    """Whether in some format, the worst errors of both forms side by side, then the second worst and so on, many are
    larger than those of the definition, beyond what conditioning excuses: a few that it saves do not make up for it."""
    after, before = tried.ulps(answer.term), tried.ulps(root.term)
    for k, fmt in enumerate(tried.fmts):
        rows = np.nonzero(tried.kind == k)[0]
        if _share_harmed(after[rows], before[rows], fmt) > HARMED:
            excuse = np.ones(tried.count)
            poor = rows[np.maximum(after, before)[rows] > STABLE]
            for i in poor[:: max(1, len(poor) // WEIGHED)].tolist():
                excuse[i] = tried.excused(i)
            poor = poor[:: max(1, len(poor) // WEIGHED)]
            if _share_harmed(after[poor] / excuse[poor], before[poor] / excuse[poor], fmt) > HARMED:
                return True
    return False


def _share_harmed(after: Doubles, before: Doubles, fmt: Format) -> float:
    """Of the ranks at which a form's errors are beyond STABLE, the share at which they exceed the definition's."""
    one, other = (np.sort(np.minimum(e, 2.0**fmt.precision))[::-1] for e in (after, before))
    poor = one > STABLE
    return float((one > WORSE * other)[poor].mean()) if poor.any() else 0.0


def gained(answer: Answer, root: Answer, tried: Judge, edges: Judge, target: float) -> bool:
    """Whether the answer is better than the definition by more than luck: it costs less, keeps bits over all points
    that were tried, or far more beyond what conditioning excuses."""
    after, before = tried.ulps(answer.term), tried.ulps(root.term)
    if not tried.count or faults(answer, edges, target) < faults(root, edges, target):
        return True
    if cost(answer.term) < CHEAPER * cost(root.term):
        return True
    if before.max() <= STABLE:  # good already: another must be far better
        return bool(after.max() <= FAR_BETTER * before.max())
    if after.max() <= STABLE:
        return True
    # Where no digit is left one number is as good as another, or as none.
    lost = 2.0 ** (np.array([f.precision for f in tried.fmts])[tried.kind] - SPARE)
    bits = [float(np.log2(np.clip(errors / STABLE, 1.0, lost)).sum()) for errors in (after, before)]
    left = [_beyond_excuse(tried, np.minimum(errors, lost)) for errors in (after, before)]
    if bits[0] <= bits[1] * FEWER:
        return True
    return left[1] > STABLE and left[0] * CLEARLY <= left[1]


def _beyond_excuse(tried: Judge, errors: Doubles) -> float:
    """The worst error beyond what conditioning excuses, of the points with the worst errors."""
    worst = np.argsort(-errors, kind="stable")[:BESIDE].tolist()
    return max((float(errors[i] / tried.excused(i)) for i in worst), default=0.0)


def faults(answer: Answer, edges: Judge, target: float) -> int:
    """At how many of the points at infinity an answer is wrong."""
    return int((edges.ulps(answer.term) > 64 * target).sum()) if edges.count else 0


def loss(answer: Answer, fresh: Judge) -> float:
    """What an answer loses over all points, in bits, the worst of them counting most."""
    lost = np.log2(1 + np.minimum(np.nan_to_num(fresh.ulps(answer.term), nan=np.inf), 2.0**70))
    return float(lost.mean() + lost.max())
