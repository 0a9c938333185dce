"""The loops around the functions of a row kernel: short rows side by side, long rows one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lossmith.codegen.targets.c_printing import PAIR, Arithmetic, identifier
from lossmith.codegen.targets.c_rows import SHORT, WIDER, RowWriter

AT_ONCE = 16384  # elements of whole rows that a thread takes at a time
LINE, FETCHED = 64, 32768  # bytes of a cache line; classes up to which the next row is fetched while one is summed
SIZES = {"float": 4, "double": 8, "uint16_t": 2}
TOGETHER = 4  # exponentials of one lane that are summed in float, which is off by less than an ulp of their sum


def takes(writer: RowWriter, storage: str) -> list[str]:
    """The parameters of the public function."""
    array = f"const {storage}* "
    types = {"row": array, "scalar": array, "label": "const int64_t* ", "parameter": "double "}
    made = [types[i.kind] + identifier(i.name) for i in writer.kernel.inputs]
    return [*made, *(f"{storage}* {name}" for _, name in writer.outputs), "int64_t rows", "int64_t classes"]


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

    def view(self) -> dict[str, Any]:
        parameters = ", ".join([
            *(f"const {self.storage}* in{n}" for n in range(len(self.inputs["row"]))),
            *(f"const {self.storage}* sc{n}" for n in range(len(self.inputs["scalar"]))),
            *(f"const int64_t* lab{n}" for n in range(len(self.inputs["label"]))),
            *(f"const double par{n}" for n in range(len(self.inputs["parameter"]))),
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

    def _short_finish(self) -> list[str]:
        place, lanes = f"k * {self.lanes} + i", self.lanes
        common = {"k": "k", "at": "i", "lane": "i", "rows": f"held{{}}[{place}]", "kept": f"kept{{}}[{place}]"}
        ends = [f"end{n}" for n in range(len(self.writer.row_outputs))]
        lines = [f"{WIDER[self.a].type} {', '.join(f'last_{e}[{lanes}]' for e in ends)};"] if ends else []
        lines += self._over_lanes(self._args(self.functions["finish"], **common, outs="&last_{}[i]"))
        for e in ends:
            value = self._sound(f"last_{e}[i]", "i")
            lines.append(f"for (int i = 0; i < count; ++i) {e}[row + i] = to_{self.suffix}({value});")
        if not self.writer.class_outputs:
            return lines
        outs = range(len(self.writer.class_outputs))
        call = self._args(self.functions["epilogue"], **common, outs=f"&done_{{}}[{place}]")
        call = call.replace("&done_out", "&done")
        lines += self._over_classes(call)
        values = [self._sound(f"done{n}[{place}]", "i") for n in outs]
        lines += ["for (int i = 0; i < count; ++i) {", "    for (int32_t k = 0; k < classes; ++k) {",
                  *(f"        out{n}[(row + i) * classes + k] = to_{self.suffix}({v});" for n, v in enumerate(values)),
                  "    }", "}"]
        return lines

    # ---- long rows

    def _long(self) -> list[str]:
        rows = range(len(self.inputs["row"]))
        outs = range(len(self.writer.class_outputs))
        inside = [*(f"const {self.storage}* const row{n} = in{n} + row * classes;" for n in rows),
                  *(f"{self.storage}* const to{n} = out{n} + row * classes;" for n in outs),
                  *self._opening("0", "row")]
        self.ready = set()
        for n in self._stage_numbers():
            inside += self._long_stage(n)
        inside += self._long_finish()
        if any("SOON" in line for line in inside):
            inside.insert(0, f"const int32_t ahead = classes <= {FETCHED} ? classes : 0;")
        return [f"{self.body['known']} s;", f"{self.body['sums']} t;", "for (int64_t row = 0; row < rows; ++row) {",
                *(f"    {line}" for line in inside), "}"]

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
        return {"k": k, "at": "0", "lane": "i", "rows": f"from_{self.suffix}(row{{}}[{k}])",
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
            lines.append(self._args(self.functions[f"capture{n}"], **self._common(f"s.{identifier(capture.label)}[0]")))
        return lines

    def _merged(self, name: str) -> list[str]:
        call = self._args(self.functions[name], **self._common(), other="i + width")
        return [f"for (int width = {self.lanes // 2}; width > 0; width /= 2) {{", "#pragma omp simd",
                f"    for (int i = 0; i < width; ++i) {call}", "}"]

    def _long_finish(self) -> list[str]:
        kind, common = self.a.type, self._common()
        ends = [f"end{n}" for n in range(len(self.writer.row_outputs))]
        lines = [f"{WIDER[self.a].type} {', '.join(f'last_{e}' for e in ends)};"] if ends else []
        lines.append(self._args(self.functions["finish"], **common, outs="&last_{}"))
        lines += [f"{e}[row] = to_{self.suffix}({self._sound(f'last_{e}', '0')});" for e in ends]
        if not self.writer.class_outputs:
            return lines
        outs = range(len(self.writer.class_outputs))
        call = self._args(self.functions["epilogue"], **common, outs="&done_{}").replace("&done_out", "&done")
        return [*lines, *self._along([
            f"{kind} {', '.join(f'done{n}' for n in outs)};", call,
            *(f"to{n}[base + i] = to_{self.suffix}({self._sound(f'done{n}', '0')});" for n in outs)])]
