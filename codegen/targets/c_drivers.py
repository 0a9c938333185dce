"""The loops around the functions of a row kernel: short rows side by side, long rows one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lossmith.codegen.targets.c_printing import PAIR, Arithmetic, identifier
from lossmith.codegen.targets.c_rows import SHORT, WIDER, RowWriter

AT_ONCE = 32768  # elements of whole rows that a thread takes at a time
LINE = 64  # bytes of a cache line
AHEAD, FETCHED = 2048, 32768  # classes at least that what is fetched is ahead; and up to which it is the next row
SIZES = {"float": 4, "double": 8, "uint16_t": 2}
TOGETHER = 4  # exponentials of one lane that are summed in float, which is off by less than an ulp of their sum


def takes(writer: RowWriter, storage: str) -> list[str]:
    """The parameters of the public function."""
    array = f"const {storage}* "
    types = {"row": array, "scalar": array, "label": "const int64_t* ", "parameter": "double "}
    made = [types[i.kind] + identifier(i.name) for i in writer.kernel.inputs]
    return [*made, *(f"{storage}* {name}" for _, name in writer.outputs), "int64_t rows", "int64_t classes"]


def is_scaled(entry: str, a: Arithmetic) -> bool:
    """Whether an entry has a function that multiplies the gradient, too: a loss with its gradient, which training
    divides by the number of losses."""
    return entry == "loss_gradient" and a is not PAIR


def scaled(value: str, output: str, within: bool) -> str:
    """What is written of an output."""
    return f"{value} * times" if within and output == "gradient" else value


def launcher(writer: RowWriter, body: dict[str, Any], suffix: str, storage: str, a: Arithmetic) -> dict[str, Any]:
    """Texts for the template: both loops, and how the public function calls them."""
    return _Driver(writer, body, suffix, storage, a).view()


class _Driver:
    def __init__(self, writer: RowWriter, body: dict[str, Any], suffix: str, storage: str, a: Arithmetic) -> None:
        self.writer, self.body, self.suffix, self.storage, self.a = writer, body, suffix, storage, a
        self.inputs = writer.inputs
        self.functions = {f["name"].removesuffix(f"_{writer.entry}{a.suffix}"): f for f in body["functions"]}
        self.kept = list(writer.kept.values())
        # Where the arithmetic is that of the storage, an exponential waits in the place of an output.
        self.stored = a.suffix != "_p" and suffix in ("f32", "f64")
        self.lanes = a.lanes
        self.ready: set[str] = set()
        self.scaled = is_scaled(writer.entry, a)
        names = dict(writer.outputs)
        self.output_names = [names[key] for key in writer.class_outputs]
        self.end_names = [names[key] for key in writer.row_outputs]

    def view(self) -> dict[str, Any]:
        parameters = ", ".join([
            *(f"const {self.storage}* in{n}" for n in range(len(self.inputs["row"]))),
            *(f"const {self.storage}* sc{n}" for n in range(len(self.inputs["scalar"]))),
            *(f"const int64_t* lab{n}" for n in range(len(self.inputs["label"]))),
            *(f"const double par{n}" for n in range(len(self.inputs["parameter"]))),
            *([f"const {self.a.type} times"] if self.scaled else []),
            *(f"{self.storage}* out{n}" for n in range(len(self.writer.class_outputs))),
            *(f"{self.storage}* end{n}" for n in range(len(self.writer.row_outputs))),
            "const int64_t rows", "const int32_t classes"])
        return {"suffix": self.suffix, "entry": self.writer.entry, "loop_takes": parameters, "short": self._short(),
                "long": self._long(), "piece": self._call(" + first", "upto"), "at_once": AT_ONCE, "short_row": SHORT,
                "lanes": self.lanes}

    def _call(self, first: str, rows: str) -> str:
        names = dict(zip((key for key, _ in self.writer.outputs), (name for _, name in self.writer.outputs)))
        whole = f"{first} * classes"
        return ", ".join([
            *(identifier(n) + whole for n in self.inputs["row"]),
            *(identifier(n) + first for n in self.inputs["scalar"]),
            *(identifier(n) + first for n in self.inputs["label"]), *(identifier(n) for n in self.inputs["parameter"]),
            *(["times"] if self.scaled else []),
            *(names[key] + whole for key in self.writer.class_outputs),
            *(names[key] + first for key in self.writer.row_outputs), rows, "(int32_t)classes"])

    # ---- calls of the functions of one lane

    def _args(self, function: dict[str, Any], *, k: str, at: str, lane: str, rows: str, kept: str,
              keep: str = "", outs: str = "", other: str = "") -> str:
        """A call of one of the writer's functions: each parameter, by its name, as it is called here."""
        places = {"index": k, "known": "&s", "sums": "&t", "place": at, "lane": lane, "classes": "classes",
                  "other": other}
        made = []
        for taken in filter(None, function["takes"].split(", ")):
            name = taken.replace("*", " ").split()[-1]
            if name in places:
                made.append(places[name])
            elif name.startswith("kept_"):
                made.append(keep.format(self.kept.index(name.removeprefix("kept_"))))
            elif name in ("out0", "out1", "end0", "end1"):
                made.append(outs.format(name))
            elif name in map(identifier, self.kept):
                n = next(i for i, word in enumerate(self.kept) if identifier(word) == name)
                made.append(self._kept_value(n, kept, rows, at) if self.kept[n] in self.ready
                            else ("pair_of(0)" if self.a is PAIR else "0"))
            else:
                made.append(rows.format([identifier(n) for n in self.inputs["row"]].index(name)))
        return f"{function['name']}({', '.join(made)});"

    def _kept_value(self, n: int, kept: str, rows: str, at: str) -> str:
        if kept:
            return kept.format(n)
        decay = list(self.writer.kept)[n]
        # Only an element that is a row itself is kept out of line; another is computed again.
        peak = f"s.{identifier(str(decay.args[1].value))}[{at}]"
        element = self.writer.element_text(decay.args[0], rows, self.a, at)
        return f"exp_diff{self.a.suffix}({element}, {peak})"

    def _stage_numbers(self) -> range:
        return range(1, len(self.writer.kernel.stages) + 1)

    def _opening(self, i: str, row: str) -> list[str]:
        """What is known of a row before its classes are read."""
        wide = f"from_{self.suffix}"
        lines = ["int sound = 1;"]
        for n, name in enumerate(self.inputs["label"]):
            y = identifier(name)
            lines += [f"const int64_t given{n} = lab{n}[{row}];",
                      f"const int in_range{n} = (given{n} >= 0) & (given{n} < classes);",
                      f"s.{y}[{i}] = in_range{n} ? (int32_t)given{n} : 0;", f"sound &= in_range{n};"]
        lines.append(f"s.sound[{i}] = sound ? 1 : NAN;")
        lines += [f"s.{identifier(name)}[{i}] = {wide}(sc{n}[{row}]);" for n, name in enumerate(self.inputs["scalar"])]
        made = "pair_of({})" if self.a is PAIR else "{}"
        return lines + [f"s.{identifier(name)}[{i}] = {made.format(f'par{n}')};"
                        for n, name in enumerate(self.inputs["parameter"])]

    # ---- short rows

    def _short(self) -> list[str]:
        lanes, kind, rows = self.lanes, self.a.type, self.inputs["row"]
        buffers = [*(f"held{n}" for n in range(len(rows))), *(f"kept{n}" for n in range(len(self.kept))),
                   *(f"done{n}" for n in range(len(self.writer.class_outputs)))]
        lines = [f"{self.body['known']} s;", f"{self.body['sums']} t;",
                 *(f"{kind} {b}[{SHORT * lanes}];" for b in buffers),
                 f"for (int64_t row = 0; row < rows; row += {lanes}) {{"]
        self.ready = set()
        wide = f"from_{self.suffix}"
        read = [f"        held{n}[k * {lanes} + i] = {wide}(in{n}[r * classes + k]);" for n in range(len(rows))]
        inside = [f"const int count = rows - row < {lanes} ? (int)(rows - row) : {lanes};",
                  f"for (int i = 0; i < {lanes}; ++i) {{",
                  "    const int64_t r = row + (i < count ? i : count - 1);",
                  *(f"    {line}" for line in self._opening("i", "r")),
                  "    for (int32_t k = 0; k < classes; ++k) {",
                  *read, "    }", "}"]
        for n in self._stage_numbers():
            inside += self._short_stage(n)
        inside += self._short_finish()
        return [*lines, *(f"    {line}" for line in inside), "}"]

    def _over_lanes(self, call: str) -> list[str]:
        return ["#pragma omp simd", f"for (int i = 0; i < {self.lanes}; ++i) {call}"]

    def _over_classes(self, call: str, gather: str = "") -> list[str]:
        """`gather`: called after every few classes."""
        inner = self._over_lanes(call)
        if not gather:
            return ["for (int32_t k = 0; k < classes; ++k) {", *(f"    {line}" for line in inner), "}"]
        return [f"for (int32_t start = 0; start < classes; start += {TOGETHER}) {{",
                f"    const int32_t upto = classes - start < {TOGETHER} ? classes : start + {TOGETHER};",
                "    for (int32_t k = start; k < upto; ++k) {", *(f"        {line}" for line in inner), "    }",
                *(f"    {line}" for line in self._over_lanes(gather)), "}"]

    def _gather(self, n: int, common: dict[str, str]) -> str:
        """The call that puts the sums of a few classes where all are summed, where there are such."""
        function = self.functions.get(f"gather{n}")
        return self._args(function, **common) if function else ""

    def _short_stage(self, n: int) -> list[str]:
        place, stage = f"k * {self.lanes} + i", self.writer.kernel.stages[n - 1]
        common = {"k": "k", "at": "i", "lane": "i", "rows": f"held{{}}[{place}]", "kept": f"kept{{}}[{place}]"}
        lines = self._over_lanes(self._args(self.functions[f"clear{n}"], **common))
        if stage.families:
            lines += self._over_classes(self._args(self.functions[f"look{n}"], **common))
            lines += self._over_lanes(self._args(self.functions[f"raise{n}"], **common))
        include = self.functions[f"include{n}"]
        if stage.families or stage.slots:
            lines += self._over_classes(self._args(include, **common, keep=f"&kept{{}}[{place}]"),
                                        self._gather(n, common))
        self.ready |= set(include["keeps"])
        lines += self._over_lanes(self._args(self.functions[f"close{n}"], **common))
        for capture in stage.captures[:1]:
            function = self.functions[f"capture{n}"]
            call = self._args(function, **{**common, "k": f"s.{identifier(capture.label)}[i]",
                                           "rows": f"held{{}}[s.{identifier(capture.label)}[i] * {self.lanes} + i]",
                                           "kept": f"kept{{}}[s.{identifier(capture.label)}[i] * {self.lanes} + i]"})
            lines.append(f"for (int i = 0; i < {self.lanes}; ++i) {call}")
        return lines

    def _sound(self, value: str, at: str) -> str:
        """NaN where a label is out of range: a product, since a choice that is the same for a row stops a loop
        from vectorising."""
        if not self.inputs["label"]:
            return value
        return f"scaled_by({value}, s.sound[{at}])" if self.a is PAIR else f"{value} * s.sound[{at}]"

    def _written(self, n: int, value: str) -> str:
        """A class's n-th output in the type of the storage."""
        return f"to_{self.suffix}({scaled(value, self.output_names[n], self.scaled)})"

    def _ended(self, end: str, place: str, value: str) -> str:
        """What a row's output is set to, in the type of the storage."""
        name = self.end_names[int(end.removeprefix("end"))]
        return f"{end}[{place}] = to_{self.suffix}({scaled(value, name, self.scaled)});"

    def _short_finish(self) -> list[str]:
        place, lanes = f"k * {self.lanes} + i", self.lanes
        common = {"k": "k", "at": "i", "lane": "i", "rows": f"held{{}}[{place}]", "kept": f"kept{{}}[{place}]"}
        ends = [f"end{n}" for n in range(len(self.writer.row_outputs))]
        lines = [f"{WIDER[self.a].type} {', '.join(f'last_{e}[{lanes}]' for e in ends)};"] if ends else []
        lines += self._over_lanes(self._args(self.functions["finish"], **common, outs="&last_{}[i]"))
        for e in ends:
            value = self._sound(f"last_{e}[i]", "i")
            lines.append(f"for (int i = 0; i < count; ++i) {self._ended(e, 'row + i', value)}")
        if not self.writer.class_outputs:
            return lines
        call = self._args(self.functions["epilogue"], **common, outs=f"&done_{{}}[{place}]")
        call = call.replace("&done_out", "&done")
        lines += self._over_classes(call)
        joined = self.scaled and self.inputs["label"]  # both factors at once: one of them is 1, or all is NaN
        ahead = [f"    const {self.a.type} by = s.sound[i] * times;"] if joined else []
        written = [f"to_{self.suffix}(done{n}[{place}] * by)" if joined and name == "gradient"
                   else self._written(n, self._sound(f"done{n}[{place}]", "i"))
                   for n, name in enumerate(self.output_names)]
        lines += ["for (int i = 0; i < count; ++i) {", *ahead, "    for (int32_t k = 0; k < classes; ++k) {",
                  *(f"        out{n}[(row + i) * classes + k] = {w};" for n, w in enumerate(written)),
                  "    }", "}"]
        return lines

    # ---- long rows

    def _long(self) -> list[str]:
        rows = range(len(self.inputs["row"]))
        outs = range(len(self.writer.class_outputs))
        inside = ["const int64_t row = start + at;",
                  *(f"const {self.storage}* const row{n} = in{n} + row * classes;" for n in rows),
                  *(f"{self.storage}* const to{n} = out{n} + row * classes;" for n in outs),
                  *self._opening("at", "row")]
        self.ready = set()
        for n in self._stage_numbers():
            inside += self._long_stage(n)
        inside += self._long_classes()
        marks = [f"{self.a.type} mark{n}[{self.lanes}];" for n in range(len(self.kept)) if self._is_marked]
        ahead = [f"const int32_t ahead = classes > {FETCHED} ? 0 : classes < {AHEAD} ? {AHEAD} : classes;"]
        return [f"{self.body['known']} s;", f"{self.body['sums']} t;", *marks,
                *(ahead if any("SOON" in line for line in inside) else []),
                f"for (int64_t start = 0; start < rows; start += {self.lanes}) {{",
                f"    const int count = rows - start < {self.lanes} ? (int)(rows - start) : {self.lanes};",
                "    for (int at = 0; at < count; ++at) {", *(f"        {line}" for line in inside), "    }",
                *(f"    {line}" for line in self._long_finish()), "}"]

    @property
    def _is_marked(self) -> bool:
        """Whether the exponentials at the labels wait for the end, their places being written before."""
        return self.stored and self.writer.elsewhere is not None

    def _fetches(self) -> list[str]:
        """The next row on its way to the cache, line by line: the processor does not look beyond a page by itself."""
        arrays = [*((f"row{n}", 0) for n in range(len(self.inputs["row"]))),
                  *((f"to{n}", 1) for n in range(len(self.writer.class_outputs)))]
        step = LINE // SIZES[self.storage]
        return [f"    SOON({array} + ahead + base{f' + {at}' if at else ''}, {written});"
                for array, written in arrays for at in range(0, self.lanes, step)]

    def _along(self, statements: list[str], gather: str = "", fetches: Sequence[str] = ()) -> list[str]:
        """A loop over the classes, by lanes, and what is left over. `gather`: called after every few steps."""
        lanes, body = self.lanes, [f"        {line}" for line in statements]
        upto = "whole"
        lines = [f"const int32_t whole = classes / {lanes} * {lanes};"]
        if gather:
            lines += [f"for (int32_t start = 0; start < whole; start += {TOGETHER * lanes}) {{",
                      f"const int32_t upto = whole - start < {TOGETHER * lanes} ? whole : start + {TOGETHER * lanes};"]
            upto = "upto"
        lines += [f"for (int32_t base = {'start' if gather else '0'}; base < {upto}; base += {lanes}) {{",
                  *fetches, "#pragma omp simd", f"    for (int i = 0; i < {lanes}; ++i) {{", *body, "    }", "}"]
        if gather:
            lines += [*self._over_lanes(gather), "}"]
        lines += ["{", "    const int32_t base = whole;", "#pragma omp simd",
                  "    for (int i = 0; i < classes - base; ++i) {", *body, "    }", "}"]
        if gather:
            lines += self._over_lanes(gather)
        return ["{", *(f"    {line}" for line in lines), "}"]

    def _common(self, k: str = "base + i") -> dict[str, str]:
        return {"k": k, "at": "at", "lane": "i", "rows": f"from_{self.suffix}(row{{}}[{k}])",
                "kept": f"to{{}}[{k}]" if self.stored else ""}

    def _long_stage(self, n: int) -> list[str]:
        stage, common = self.writer.kernel.stages[n - 1], self._common()
        lines = self._over_lanes(self._args(self.functions[f"clear{n}"], **common))
        if stage.families:
            lines += self._along([self._args(self.functions[f"look{n}"], **common)])
            lines += self._merged(f"join_peaks{n}")
            lines.append(self._args(self.functions[f"raise{n}"], **{**common, "lane": "0"}))
        include = self.functions[f"include{n}"]
        if stage.families or stage.slots:
            keeps = [self.kept.index(word) for word in include["keeps"]]
            kind = self.a.type
            before = [f"{kind} kept{m};" for m in keeps]
            after = [f"to{m}[base + i] = kept{m};" if self.stored else f"(void)kept{m};" for m in keeps]
            lines += self._along([*before, self._args(include, **common, keep="&kept{}"), *after],
                                 self._gather(n, common), self._fetches() if n == 1 else ())
            lines += self._merged(f"join{n}")
        self.ready |= set(include["keeps"])
        lines.append(self._args(self.functions[f"close{n}"], **{**common, "lane": "0"}))
        for capture in stage.captures[:1]:
            common = self._common(f"s.{identifier(capture.label)}[at]")
            lines.append(self._args(self.functions[f"capture{n}"], **common))
        return lines

    def _merged(self, name: str) -> list[str]:
        lines, width = list[str](), self.lanes // 2
        while width:
            call = self._args(self.functions[name], **self._common(), other=f"i + {width}")
            lines += ["#pragma omp simd", f"for (int i = 0; i < {width}; ++i) {call}"]
            width //= 2
        return lines

    def _long_classes(self) -> list[str]:
        """What is written for each class of a row."""
        if not self.writer.class_outputs:
            return []
        kind, outs = self.a.type, range(len(self.writer.class_outputs))
        name = "elsewhere" if self.writer.elsewhere else "epilogue"
        call = self._outs(self._args(self.functions[name], **self._common(), outs="&done_{}"))
        labels = [f"mark{n}[at] = to{n}[s.{self._label}[at]];" for n in range(len(self.kept)) if self._is_marked]
        return [*labels, self._args(self.functions["ready"], **self._common()), *self._along([
            f"{kind} {', '.join(f'done{n}' for n in outs)};", call,
            *(f"to{n}[base + i] = {self._written(n, f'done{n}')};" for n in outs)])]

    @property
    def _label(self) -> str:
        return identifier(self.inputs["label"][0])

    @staticmethod
    def _outs(call: str) -> str:
        return call.replace("&done_out", "&done")

    def _long_finish(self) -> list[str]:
        """What is known of several rows at their ends, side by side; then what is written at their labels."""
        ends = [f"end{n}" for n in range(len(self.writer.row_outputs))]
        outs = range(len(self.writer.class_outputs))
        lines = [f"{WIDER[self.a].type} {', '.join(f'last_{e}[{self.lanes}]' for e in ends)};"] if ends else []
        k = f"s.{self._label}[i]" if self.inputs["label"] else "0"
        place = {"k": k, "at": "i", "lane": "i", "kept": "mark{}[i]" if self._is_marked else "",
                 "rows": f"from_{self.suffix}(in{{}}[(start + i) * classes + {k}])"}
        if ends or self.writer.elsewhere:
            lines += ["#pragma omp simd", "for (int i = 0; i < count; ++i) "
                      + self._args(self.functions["finish"], **place, outs="&last_{}[i]")]
        for e in ends:
            value = self._sound(f"last_{e}[i]", "i")
            lines.append(f"for (int i = 0; i < count; ++i) {self._ended(e, 'start + i', value)}")
        if self.writer.elsewhere:
            call = self._outs(self._args(self.functions["epilogue"], **place, outs="&done_{}"))
            lines += ["for (int i = 0; i < count; ++i) {", f"    {self.a.type} {', '.join(f'done{n}' for n in outs)};",
                      f"    {call}",
                      *(f"    out{n}[(start + i) * classes + {k}] = {self._written(n, f'done{n}')};" for n in outs),
                      "}"]
        if outs and self.inputs["label"]:
            nan = "pair_of(NAN)" if self.a is PAIR else "NAN"
            lines += ["for (int i = 0; i < count; ++i) {",
                      "    for (int32_t k = 0; s.sound[i] != s.sound[i] && k < classes; ++k) {",
                      *(f"        out{n}[(start + i) * classes + k] = to_{self.suffix}({nan});" for n in outs), "    }",
                      "}"]
        return lines
