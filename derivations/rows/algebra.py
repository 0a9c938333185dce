"""The normal form of row formulas: sums and products in canonical order, exponents in the log domain.

Two sorts: one value per row, one value per class with an implicit index. The constructors apply
at once what keeps a formula in the log domain:

    sum(onehot(y) * r) = r[y]         sum(s * r) = s * sum(r)        sum(s) = C * s
    exp(a) * exp(b) = exp(a + b)      log(exp(a)) = a                log(u * v) = log u + log v for u, v >= 0
    log(sum exp(a)) = lse(a)          (sum exp(a))**e = exp(e lse(a))
    sum exp(a - lse(a)) = 1

This form is for calculus, for recognising and for comparing. It is never computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from lossmith.derivations.domains import Domain
from lossmith.derivations.loss import Argument
from lossmith.derivations.rows import expr as x
from lossmith.derivations.rows.expr import ONE, ZERO, Expr, coefficient, factors, num, terms_of
from lossmith.derivations.terms import POSITION, Term, name_of

MINUS = num(-1)


class Algebra:
    """Constructors of normal forms, given the domains of the arguments.

    products: whether a product of sums beside 1 enters the log domain too; where every weight of one
    is 0 it has no value there, and so a definition stays outside.
    """

    def __init__(self, arguments: Sequence[Argument] = (), *, products: bool = True) -> None:
        self.domains: dict[str, Domain] = {a.name: a.domain for a in arguments}
        self.products = products

    def normal(self, term: Term) -> Term:
        """The same formula in normal form, as a term."""
        return x.to_term(self.read(term))

    # ---- sums and products

    def add(self, *parts: Expr) -> Expr:
        total: dict[Expr, Fraction] = {}
        for part in parts:
            for t in terms_of(part):
                c, rest = coefficient(t)
                total[rest] = total.get(rest, Fraction(0)) + c
        self._beside(total)
        kept = [num(c) if rest is ONE else self._scaled(c, rest) for rest, c in total.items() if c != 0]
        return x.nary("add", kept, ZERO)

    def _beside(self, total: dict[Expr, Fraction]) -> None:
        """sum exp(a) - exp(a[y]), of the terms of a sum, as the sum over the classes beside y."""
        for whole in [t for t in total if t.op == "sum" and t.has_exp and total[t]]:
            for one in [t for t in total if t.op == "exp" and t.sort == "scalar" and total[t] == -total[whole]]:
                for y in dict.fromkeys(n.name for n in x.walk(one) if n.op == "at"):
                    if total[whole] and self.at(whole.args[0], y) is one:
                        c, left = total.pop(whole), total.pop(one)
                        made = self.sum(self.mul(x.others(y), whole.args[0]))
                        total[made] = total.get(made, c + left) + c

    @staticmethod
    def _scaled(c: Fraction, rest: Expr) -> Expr:
        """A number times what has no number in front."""
        return rest if c == 1 else x.make("mul", (num(c), *factors(rest)))

    def neg(self, a: Expr) -> Expr:
        return self.mul(MINUS, a)

    def sub(self, a: Expr, b: Expr) -> Expr:
        return self.add(a, self.neg(b))

    def mul(self, *parts: Expr) -> Expr:
        c, powers = Fraction(1), dict[Expr, Expr]()
        for part in parts:
            c *= self._gather(part, ONE, powers)
        if c == 0 or any(b.op == "onehot" and x.others(b.name) in powers for b in powers):
            return ZERO
        exponents: list[Expr] = []
        kept: list[Expr] = []
        for base, e in powers.items():
            if e is ZERO:
                continue
            if base.op == "exp":
                exponents.append(self._times(e, base.args[0]))
            elif e is not ONE and base.op in ("sum", "add") and self.log(base).op == "lse":
                exponents.append(self.mul(e, self.log(base)))
            else:
                kept.append(base if e is ONE else x.make("pow", (base, e)))
        return self._assembled(c, *self._halves(kept, exponents))

    def _halves(self, kept: list[Expr], exponents: list[Expr]) -> tuple[list[Expr], list[Expr]]:
        """1 / (1 + exp(u)), u with log-sum-exps in it, as exp(-u) sigmoid(u) where the exponents beside it hold u."""
        for f in kept:
            u = self._product_of_sums(f.args[0]) if f.op == "pow" and f.args[1] is MINUS else None
            if u is None:
                continue
            left, logs = [k for k in kept if k is not f], [k for k in kept if k.op == "sum" and self.log(k) in u.within]
            inside = [*exponents, *(self.log(k) for k in logs)]
            if len(terms_of(self.sub(self.add(*inside), u))) < len(terms_of(self.add(*inside))) + len(terms_of(u)):
                beside = [k for k in left if k not in logs]
                return [*beside, x.function("sigmoid", u)], [*inside, self.neg(u)]
            return [*left, x.function("sigmoid", self.neg(u))], exponents
        return kept, exponents

    def _product_of_sums(self, base: Expr) -> Expr | None:
        """u where a base is 1 + exp(u), u being the sum of several log-sum-exps."""
        log = self.log(base) if base.op == "add" else ZERO
        if log.op != "fn" or log.name != "softplus":
            return None
        return log.args[0] if sum(coefficient(t)[1].op == "lse" for t in terms_of(log.args[0])) > 1 else None

    def _assembled(self, c: Fraction, kept: list[Expr], exponents: list[Expr]) -> Expr:
        """A number, factors that are no exponentials, and the exponents of those that are."""
        if exponents:
            for base in [k for k in kept if k.op == "sum"]:
                log = self.log(base)  # sum exp(a) beside exp(b - lse(a)): one exponential
                if log.op == "lse" and any(log in e.within for e in exponents):
                    kept.remove(base)
                    exponents.append(log)
            kept, exponents = self._pushed(kept, exponents)
            kept, exponents = self._weighed(kept, exponents)
            joined = self.exp(self.add(*exponents))
            for f in factors(joined):
                if f.op == "num":
                    c *= x.value(f)
                else:
                    kept.append(f)
        if len(kept) == 1 and kept[0].op == "add" and c != 1:
            return self.add(*(self._scaled_any(c, t) for t in kept[0].args))
        ordered = sorted(kept, key=lambda f: f.key)
        if c != 1 or not ordered:
            ordered.insert(0, num(c))
        return ordered[0] if len(ordered) == 1 else x.make("mul", tuple(ordered))

    def _pushed(self, kept: list[Expr], exponents: list[Expr]) -> tuple[list[Expr], list[Expr]]:
        """exp(-n lse(a)) beside sum exp(n a) goes into the sum: neither part can overflow then."""
        total = self.add(*exponents)
        out: list[Expr] = []
        for base in kept:
            share = self._share_of(base, total) if base.op == "sum" else None
            if share is None:
                out.append(base)
                continue
            total = self.sub(total, share)
            out.append(self.sum(self.mul(base.args[0], self.exp(share))))
        return (out, [total]) if len(out) == len(kept) and out != kept else (kept, exponents)

    def _weighed(self, kept: list[Expr], exponents: list[Expr]) -> tuple[list[Expr], list[Expr]]:
        """w exp(b - lse(b + log w)): the weight joins the exponent, where it makes a softmax of it."""
        weights = self._weights(self.add(*exponents))
        joined = [k for k in kept if self.log(k) in weights] if weights else []
        return [k for k in kept if k not in joined], [*exponents, *(self.log(k) for k in joined)]

    def _weights(self, exponent: Expr) -> list[Expr]:
        """The logarithms in the arguments of the log-sum-exps that an exponent subtracts, also at its labels."""
        found: list[Expr] = []
        for t in terms_of(exponent):
            c, lse = coefficient(t)
            if lse.op == "lse" and c < 0:
                rows = [n for a in lse.args for n in terms_of(a) if n.op == "log"]
                labels = dict.fromkeys(n.name for n in x.walk(exponent) if n.op == "at")
                found += rows + [self.at(n, y) for n in rows for y in labels]
        return found

    def _share_of(self, base: Expr, exponent: Expr) -> Expr | None:
        """-n lse(a), a part of the exponent, where the body of a sum holds exp(n a)."""
        inside = [f for f in factors(base.args[0]) if f.op == "exp"]
        own = {coefficient(t)[1]: coefficient(t)[0] for e in inside for t in terms_of(e.args[0])}
        for t in terms_of(exponent):
            c, lse = coefficient(t)
            if lse.op != "lse":
                continue
            for a in lse.args:
                n = own.get(coefficient(a)[1], Fraction(0)) / (coefficient(a)[0] or 1)
                if a.sort == "row" and n > 0 and n.denominator == 1 and c <= -n and lse not in base.within:
                    return self.mul(num(-n), lse)
        return None

    def _scaled_any(self, c: Fraction, t: Expr) -> Expr:
        own, rest = coefficient(t)
        return num(c * own) if rest is ONE else self._scaled(c * own, rest)

    def _times(self, e: Expr, a: Expr) -> Expr:
        """e * a, a number being multiplied into each term."""
        if e.op == "num" and a.op == "add":
            return self.add(*(self.mul(e, t) for t in a.args))
        return self.mul(e, a)

    def _gather(self, part: Expr, e: Expr, powers: dict[Expr, Expr]) -> Fraction:
        """Put part ** e into a table base -> exponent; returns the number that it contributes."""
        whole = e.op == "num" and x.value(e).denominator == 1
        if part.op == "num" and whole and (x.value(part) != 0 or x.value(e) > 0):
            return Fraction(x.value(part)) ** int(x.value(e))
        if part.op == "mul" and whole:
            c = Fraction(1)
            for f in part.args:
                c *= self._gather(f, e, powers)
            return c
        if part.op == "pow":
            return self._gather(part.args[0], self.mul(part.args[1], e), powers)
        if part.op == "onehot" or (x.others_of(part) is not None and e.op == "num" and x.value(e) > 0):
            powers[part] = ONE
        else:
            powers[part] = self.add(powers[part], e) if part in powers else e
        return Fraction(1)

    def pow(self, base: Expr, e: Expr) -> Expr:
        if e is ZERO:
            return ONE
        if e is ONE:
            return base
        if base.op == "exp":
            return self.exp(self._times(e, base.args[0]))
        if base.op in ("sum", "add"):
            log = self.log(base)
            if log.op == "lse":
                return self.exp(self.mul(e, log))
        if base.op == "mul" and all(self.nonnegative(f) for f in base.args):
            return self.mul(*(self.pow(f, e) for f in base.args))
        whole = e.op == "num" and x.value(e).denominator == 1
        if whole and base.op in ("num", "mul", "pow"):
            return self.mul(x.make("pow", (base, e))) if base is not ZERO else x.make("pow", (base, e))
        return x.make("pow", (base, e))

    # ---- exponentials and logarithms

    def exp(self, a: Expr) -> Expr:
        """exp of a sum; a logarithm in it leaves as a factor, be it that of 0."""
        if any(t.op == "log" and t.args[0] is ZERO for t in terms_of(a)):
            return ZERO
        out, rest = list[Expr](), list[Expr]()
        weights = self._weights(a)
        for t in terms_of(a):
            c, r = coefficient(t)
            if r.op == "log" and c.denominator == 1 and t not in weights:
                out.append(self.pow(r.args[0], num(c)))
            else:
                rest.append(t)
        if not rest:
            return self.mul(*out) if out else ONE
        made = x.make("exp", (self.add(*rest),))
        return made if not out else x.nary("mul", [*out, made], ONE) if len(out) == 1 else self.mul(*out, made)

    def log(self, a: Expr) -> Expr:
        if a is ONE:
            return ZERO
        if a.op == "exp":
            return a.args[0]
        if a.op == "mul" and all(self.nonnegative(f) for f in a.args):
            return self.add(*(self.log(f) for f in a.args))
        if a.op == "pow" and self.nonnegative(a.args[0]):
            return self.mul(a.args[1], self.log(a.args[0]))
        if a.op in ("add", "sum"):
            found = self._log_of_sum(a) or self._log_of_others(a)
            if found is not None:
                return found
        return x.make("log", (a,))

    def _log_of_sum(self, a: Expr) -> Expr | None:
        """log of a sum of positive terms with an exponential in it: lse, softplus or logaddexp."""
        arguments: list[Expr] = []
        exponentials = 0
        for t in terms_of(a):
            total = [f for f in factors(t) if f.op == "sum"]
            outside = self.mul(*(f for f in factors(t) if f.op != "sum"))
            inside = self.mul(outside, total[0].args[0]) if total else t
            if len(total) > 1 and (logs := self._logs(outside, total)) is not None:  # a product of sums
                arguments.append(logs)
                exponentials += 1
                continue
            if len(total) > 1 or (total and outside.sort == "row") or not self.nonnegative(inside):
                return None
            exponentials += inside.has_exp
            if total and not inside.has_exp:
                return None
            arguments.append(self.log(inside))
        if not exponentials:
            return None
        if a.sort == "scalar" and any(b.sort == "row" for b in arguments):
            return self.lse(*arguments)
        if len(arguments) != 2:
            return None
        first, second = sorted(arguments, key=lambda b: b.key)
        return x.function("softplus", second) if first is ZERO else x.function("logaddexp", first, second)

    def _logs(self, outside: Expr, sums: Sequence[Expr]) -> Expr | None:
        """The logarithm of a product of sums of exponentials."""
        logs = [self.log(s) for s in sums]
        if not self.products or any(log.op != "lse" for log in logs) or not self.nonnegative(outside):
            return None
        return self.add(self.log(outside), *logs)

    def _log_of_others(self, a: Expr) -> Expr | None:
        """log(1 - exp(b[y] - lse(b))) is what the classes beside y have: a log-sum-exp without y, less the whole."""
        if a.op != "add" or len(a.args) != 2 or a.args[0] is not ONE:
            return None
        c, share = coefficient(a.args[1])
        if c != -1 or share.op != "exp":
            return None
        for t in terms_of(share.args[0]):
            c, whole = coefficient(t)
            if whole.op != "lse" or c != -1:
                continue
            element = self.sub(share.args[0], t)
            for b in (b for b in whole.args if b.sort == "row"):
                for y in dict.fromkeys(n.name for n in x.walk(element) if n.op == "at"):
                    if self.at(b, y) is element:
                        beside = self.add(b, self.log(x.others(y)))
                        return self.sub(self.lse(beside, *(o for o in whole.args if o is not b)), whole)
        return None

    def lse(self, *arguments: Expr) -> Expr:
        """The log-sum-exp of rows and scalars; what every one of them adds leaves it."""
        shared = [t for t in terms_of(arguments[0]) if t.sort == "scalar" and coefficient(t)[1].op == "lse"
                  and all(t in terms_of(b) for b in arguments)]
        if not shared:
            return x.make("lse", tuple(sorted(arguments, key=lambda b: b.key)))
        return self.add(self.lse(*(self.sub(b, self.add(*shared)) for b in arguments)), *shared)

    def nonnegative(self, e: Expr) -> bool:
        """Whether e >= 0 by its form or by the domain of its leaves."""
        if e.op == "num":
            return x.value(e) >= 0
        if e.op == "leaf":
            return e.term.op in ("count", "pi", "position") or (
                e.term.op in ("row", "var") and self._domain(e.term).sign == 1)
        if e.op in ("exp", "onehot") or x.others_of(e) is not None or (
                e.op == "fn" and e.name in ("sigmoid", "softplus", "abs", "cosh", "sqrt")):
            return True
        if e.op == "fn" and e.name in ("clip", "clip_through"):
            return self.nonnegative(e.args[1])
        if e.op == "fn" and e.name == "max":
            return any(self.nonnegative(a) for a in e.args)
        if e.op == "add" and (self._complement(e) or self._log_of_others(e) is not None):
            return True
        if e.op in ("add", "mul", "sum", "at") or (e.op == "fn" and e.name in ("min",)):
            return all(self.nonnegative(a) for a in e.args)
        if e.op == "pow" and e.args[1].op == "num" and x.value(e.args[1]).numerator % 2 == 0 and (
                x.value(e.args[1]).denominator == 1):
            return True
        return e.op == "pow" and self.nonnegative(e.args[0])

    def _complement(self, e: Expr) -> bool:
        """Whether e is c - p for an input p that is at most c: non-negative, though its terms differ in sign."""
        if len(e.args) != 2 or e.args[0].op != "num":
            return False
        c, leaf = coefficient(e.args[1])
        return c < 0 and leaf.op == "leaf" and leaf.term.op in ("row", "var") and (
            self._domain(leaf.term).high * -c <= x.value(e.args[0]))

    def _domain(self, leaf: Term) -> Domain:
        from lossmith.derivations.domains import EXTENDED

        return self.domains.get(name_of(leaf), EXTENDED)

    # ---- reductions

    def sum(self, body: Expr) -> Expr:
        if body.op == "add":
            return self.add(*(self.sum(t) for t in body.args))
        if body.sort == "scalar":
            return self.mul(x.COUNT, body)
        if body.op == "onehot":
            return ONE
        if body.op == "mul":
            return self._sum_of_product(body)
        if body.op == "exp":
            return self._sum_of_exp(body)
        return x.make("sum", (body,))

    def _sum_of_product(self, body: Expr) -> Expr:
        for f in body.args:
            if f.op == "onehot":
                return self.at(self.mul(*(g for g in body.args if g is not f)), f.name)
        for f in body.args:
            if f.op == "add" and f.sort == "row" and not self._complement(f):
                others = [g for g in body.args if g is not f]
                return self.add(*(self.sum(self.mul(*others, t)) for t in f.args))
        scalars = [f for f in body.args if f.sort == "scalar"]
        rows = [f for f in body.args if f.sort == "row"]
        exponentials = [f for f in rows if f.op == "exp"]
        if len(rows) == 1 and exponentials:
            return self.mul(*scalars, self._sum_of_exp(exponentials[0]))
        if scalars:
            return self.mul(*scalars, self.sum(self.mul(*rows)))
        for f in exponentials:
            total = self._hidden_total(f)
            if total is not None:
                share = self.mul(f, self.exp(self.neg(total)))
                return self.mul(self.exp(total), self.sum(self.mul(share, *(g for g in rows if g is not f))))
        return x.make("sum", (body,))

    def _hidden_total(self, f: Expr) -> Expr | None:
        """What is missing from the exponent of a softmax: scalars that read its log-sum-exp, as in p exp(mean)."""
        scalars = [t for t in terms_of(f.args[0]) if t.sort == "scalar"]
        lse = x.make("lse", (self.add(*(t for t in terms_of(f.args[0]) if t.sort == "row")),))
        if self.neg(lse) in scalars or not any(lse in t.within for t in scalars):
            return None
        return self.add(lse, *scalars)

    def _sum_of_exp(self, body: Expr) -> Expr:
        """sum exp(a - lse(a)) = 1; scalars leave the exponent."""
        exponent = body.args[0]
        scalars = [t for t in terms_of(exponent) if t.sort == "scalar"]
        row = self.add(*(t for t in terms_of(exponent) if t.sort == "row"))
        for t in scalars:
            if t is self.neg(x.make("lse", (row,))):
                return self.exp(self.add(*(s for s in scalars if s is not t)))
        inside = [t for t in scalars if coefficient(t)[1].op == "lse"]
        inside += [t for t in scalars if t not in inside and self._shifts(t, row, inside)]
        scalars = [t for t in scalars if t not in inside]
        alone = x.make("sum", (x.make("exp", (self.add(row, *inside),)),))
        return self.mul(self.exp(self.add(*scalars)), alone) if scalars else alone

    def _shifts(self, t: Expr, row: Expr, logs: Sequence[Expr]) -> bool:
        """Whether a scalar belongs to a row: an argument of a log-sum-exp beside them holds both."""
        return any(t in terms_of(a) and all(r in terms_of(a) for r in terms_of(row))
                   for lse in logs for a in coefficient(lse)[1].args)

    def at(self, e: Expr, label: str) -> Expr:
        """The element of e at a label, brought down to the leaves."""
        if e.sort == "scalar":
            return e
        if e.op == "onehot":
            return ONE if e.name == label else x.same_label(e.name, label)
        if e.op == "leaf":
            return x.label_leaf(label) if e.term.op == "position" else x.make("at", (e,), label)
        return self.again(e, tuple(self.at(a, label) for a in e.args))

    def again(self, e: Expr, args: tuple[Expr, ...]) -> Expr:
        """The operation of e on other arguments, through the constructors."""
        match e.op:
            case "add":
                return self.add(*args)
            case "mul":
                return self.mul(*args)
            case "pow":
                return self.pow(args[0], args[1])
            case "exp":
                return self.exp(args[0])
            case "log":
                return self.log(args[0])
            case "sum":
                return self.sum(args[0])
            case "at":
                return self.at(args[0], e.name)
            case "lse":
                return self.lse(*args)
            case "fn":
                return self.function(e.name, args)
        return x.make(e.op, args, e.value) if args else e

    # ---- reading terms

    def read(self, term: Term) -> Expr:
        """The normal form of a term."""
        done: dict[int, Expr] = {}

        def go(t: Term) -> Expr:
            if t.id not in done:
                done[t.id] = self._read(t, tuple(go(a) for a in t.args) if t.op not in ("at", "onehot") else ())
            return done[t.id]

        def _at(t: Term) -> Expr:
            return self.at(go(t.args[0]), name_of(t.args[1]))

        self._read_at = _at
        return go(term)

    def _choice(self, t: Term, a: tuple[Expr, ...]) -> Expr:
        """A choice; between one class and the others, it is a sum of two parts that exclude each other."""
        y = label_chosen(t.args[0])
        if y is None or any(b.sort == "scalar" and b.op != "num" for b in a[1:]):  # a margin, not a mask
            return self.function("where", a)
        here = ZERO if a[1] is ZERO else self.mul(x.onehot(y), self.at(a[1], y))
        return self.add(here, self.mul(x.others(y), a[2]))

    def function(self, op: str, args: tuple[Expr, ...]) -> Expr:
        """An operation that the algebra knows nothing of; a choice that is none is what it chooses."""
        if op == "where" and args[0].op == "fn" and args[0].name in ("eq", "ne") and args[0].args[0] is args[0].args[1]:
            return args[1] if args[0].name == "eq" else args[2]
        return x.function(op, *args)

    def _read(self, t: Term, a: tuple[Expr, ...]) -> Expr:
        match t.op:
            case "const":
                return num(t.value if isinstance(t.value, Fraction) else 0)
            case "at":
                return self._read_at(t)
            case "onehot":
                return x.onehot(name_of(t.args[0]))
            case "add":
                return self.add(*a)
            case "sub" | "gap":
                return self.sub(*a)
            case "neg":
                return self.neg(a[0])
            case "mul" | "absorb":
                return self.mul(*a)
            case "div":
                return self.mul(a[0], self.pow(a[1], MINUS))
            case "pow":
                return self.pow(*a)
            case "sqrt":
                return self.pow(a[0], num(Fraction(1, 2)))
            case "exp":
                return self.exp(a[0])
            case "exp_diff":
                return self.exp(self.sub(*a))
            case "expm1":
                return self.sub(self.exp(a[0]), ONE)
            case "log":
                return self.log(a[0])
            case "log1p":
                return self.log(self.add(ONE, a[0]))
            case "xlogy":
                return self.mul(a[0], self.log(a[1]))
            case "sum":
                return self.sum(a[0])
            case "lse":
                return self.lse(*a)
            case "where":
                return self._choice(t, a)
        return x.leaf(t) if not t.args else self.function(t.op, a)


def label_chosen(condition: Term) -> str | None:
    """The label y where a condition is k == y."""
    if condition.op != "eq" or POSITION not in condition.args:
        return None
    other = condition.args[1 if condition.args[0] is POSITION else 0]
    return name_of(other) if other.op == "label" else None
