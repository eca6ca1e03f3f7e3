"""List how each maker's text exports label their columns, in one table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batteryxr.io.cycler.labels import CLOCK, HOURS, NUMBER, STATE, Column

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Vendor:
    """Describe the layout of one maker's tables.

    Parameters
    ----------
    name
        Name for ``attrs["instrument"]``.
    mark
        Regular expression found in the header or labels of the maker's files, and in
        no others.
    columns
        Known labels, by preference.
    dayfirst
        Order of ambiguous dates; None if the maker follows the computer.
    start
        Regular expression whose group finds the start in the header.
    unlabelled
        Number of cells at the end of each row that have no label.
    codes
        Code of a state -> word, where the maker writes numbers.
    """

    name: str
    mark: str
    columns: tuple[Column, ...]
    dayfirst: bool | None = None
    start: str = ""
    unlabelled: int = 0
    codes: Mapping[str, str] = field(default_factory=dict)


BIOLOGIC = Vendor(
    "BioLogic",
    r"(EC|BT)-Lab ASCII FILE",
    (
        Column("test_time", r"time"),
        Column("voltage", r"<?ewe>?"),
        Column("voltage", r"<?ecell>?|<?ewe-ece>?"),
        Column("current", r"i"),
        Column("current", r"<i>"),
        Column("capacity", r"capacity"),
        Column("capacity", r"q charge/discharge"),
        Column("capacity", r"\(q-qo\)"),
        Column("charge_energy", r"energy charge|energy we charge"),
        Column("discharge_energy", r"energy discharge|energy we discharge"),
        Column("cycle", r"cycle number"),
        Column("step", r"ns"),
        Column("temperature", r"<?temperature>?"),
    ),
    dayfirst=False,  # also on computers with another order of dates
    start=r"Acquisition started on\s*:\s*(\S.*\S)",
)

ARBIN = Vendor(
    "Arbin",
    r"\bTest[_ ]Time ?\(s\)|\bData[_ ]Point\b.*\bTest[_ ]Time\b",
    (
        Column("test_time", r"test[_ ]time", "s"),
        Column("voltage", r"voltage", "V"),
        Column("current", r"current", "A"),
        Column("charge_capacity", r"charge[_ ]capacity", "A h"),
        Column("discharge_capacity", r"discharge[_ ]capacity", "A h"),
        Column("charge_energy", r"charge[_ ]energy", "W h"),
        Column("discharge_energy", r"discharge[_ ]energy", "W h"),
        Column("cycle", r"cycle[_ ]index"),
        Column("step", r"step[_ ]index"),
        Column("step_time", r"step[_ ]time", "s"),
        Column("temperature", r"aux[_ ]temperature.*|(cell[_ ])?temperature", "degC"),
        Column(STATE, r"step[_ ](type|name)|state"),
        Column(CLOCK, r"date[_ ]?time"),
    ),
    dayfirst=False,
)

MACCOR = Vendor(
    "Maccor",
    r"(?i)(\bRec#?\b.*\bCyc|\bDPt[ -]?Time\b)",
    (
        Column("test_time", r"test ?time|test", "s"),
        Column("voltage", r"volts?|voltage", "V"),
        Column("current", r"amps?|current", "A"),
        Column("current", r"mamps?", "mA"),
        Column("capacity", r"amp-?hrs?|cap\.?|capacity", "A h"),
        Column("capacity", r"mamp-?hrs?", "mA h"),
        Column("energy", r"watt-?hrs?|ener\.?|energy", "W h"),
        Column("energy", r"mwatt-?hrs?", "mW h"),
        Column("cycle", r"cyc#|cycle c"),
        Column("cycle", r"cycle p|cycle#?|cyc"),
        Column("step", r"step#?"),
        Column("step_time", r"step ?time", "s"),
        Column("step_time", r"step"),
        Column("temperature", r"temp(erature)?( cell)? ?1?", "degC"),
        Column(STATE, r"state|md"),
        Column(CLOCK, r"dpt[ -]?time"),
    ),
    dayfirst=False,
    start=r"Date of Test:[\s,;]*(\d+-[A-Za-z]+-\d+(?: [\d:]+(?: [AP]M)?)?|[\d/.-]+)",
)

LANDT = Vendor(
    "Landt",
    r"(?i)(\bchannel_index\b|\bTestTime/|\bSysTime\b|\bCycle-Index\b)",
    (
        Column("test_time", r"test_?time", "s"),
        Column("voltage", r"voltage|u"),
        Column("current", r"current|i"),
        Column("charge_capacity", r"charge_capacity"),
        Column("discharge_capacity", r"discharge_capacity"),
        Column("capacity", r"capacity|cap"),
        Column("charge_energy", r"charge_energy"),
        Column("discharge_energy", r"discharge_energy"),
        Column("energy", r"energy|en"),
        Column("cycle", r"cycle[_-]index|cycle"),
        Column("step", r"step[_-]index|step"),
        Column("step_time", r"step_?time", "s"),
        Column("temperature", r"temperature(_1)?"),
        Column(STATE, r"step_name|state"),
        Column(CLOCK, r"date_time_iso_string|systime"),
    ),
)

NOVONIX = Vendor(
    "Novonix",
    r"(?i)(novonix|\bRun Time \(h\).*\bPotential \(V\))",
    (
        Column("test_time", r"run[ -]?time", "h"),
        Column("voltage", r"potential|voltage", "V"),
        Column("current", r"current", "A"),
        Column("capacity", r"capacity", "A h"),
        Column("energy", r"energy", "W h"),
        Column("cycle", r"cycle number|cycle ?#?"),
        Column("step", r"step number|step ?#"),
        Column("step_time", r"step[ -]?time", "h"),
        Column("temperature", r"temperature", "degC"),
        Column(CLOCK, r"date and time"),
    ),
)

BASYTEC = Vendor(
    "Basytec",
    r"(?i)(basytec|~(Time|Zeit)\[)",
    (
        Column("test_time", r"time|zeit"),
        Column("voltage", r"u|voltage|spannung", "V"),
        Column("current", r"i|current|strom", "A"),
        Column("capacity", r"ah-(step|set|schritt)|ah", "A h"),
        Column("energy", r"wh-(step|set|schritt)|wh", "W h"),
        Column("cycle", r"cyc-count|zyk(lus)?-(zähler|nr\.?)"),
        Column("step", r"line|zeile"),
        Column("step_time", r"t-(step|schritt)"),
        Column("temperature", r"t1|temp(erature|eratur)?", "degC"),
        Column(STATE, r"command|befehl"),
        Column(CLOCK, r"datetime|datum(zeit)?"),
    ),
    dayfirst=True,
    start=r"~Start (?:of Test|der Prüfung|des Tests):\s*(\S.*\S)",
)

DIGATRON = Vendor(
    "Digatron",
    r"(?i)(digatron|\bProg(ram)? (Time|Duration)\b|\bProgrammdauer\b)",
    (
        Column("test_time", r"prog(ram)? (time|duration)|programm(dauer|zeit)", "s"),
        Column("voltage", r"voltage|spannung", "V"),
        Column("current", r"current|strom", "A"),
        Column("charge_capacity", r"ah(cha|lad)", "A h"),
        Column("discharge_capacity", r"ah(dch|ela)", "A h"),
        Column("capacity", r"ahstep|ahschritt|aha[ck][ck]u", "A h"),
        Column("charge_energy", r"wh(cha|lad)", "W h"),
        Column("discharge_energy", r"wh(dch|ela)", "W h"),
        Column("energy", r"whstep|whschritt|wha[ck][ck]u", "W h"),
        Column("cycle", r"cycle|zyklus"),
        Column("step", r"step|schritt"),
        Column("step_time", r"step (time|duration)|schritt(dauer|zeit)", "s"),
        Column("temperature", r"t1|logtemp001", "degC"),
        Column(STATE, r"status|zustand"),
        Column(CLOCK, r"timestamp|time stamp|zeitstempel"),
    ),
)

PEC = Vendor(
    "PEC",
    r"(?i)(#TESTREGIME|\bTotal[ _]Time[ _]\(?(Seconds|hours|decimal))",
    (
        Column("test_time", r"total[ _]time[ _]seconds|total[ _]time", "s"),
        Column("test_time", r"total[ _]time[ _]\(?hours[ _]in.*", "s"),
        Column("test_time", r"total[ _]time[ _]decimal"),
        Column("voltage", r"voltage", "V"),
        Column("current", r"current", "A"),
        Column("charge_capacity", r"charge[ _]capacity", "A h"),
        Column("discharge_capacity", r"discharge[ _]capacity", "A h"),
        Column("charge_energy", r"charge[ _]energy", "W h"),
        Column("discharge_energy", r"discharge[ _]energy", "W h"),
        Column("cycle", r"cycle"),
        Column("step", r"step"),
        Column("step_time", r"step[ _]time[ _]seconds|step[ _]time", "s"),
        Column("step_time", r"step[ _]time[ _]\(?hours[ _]in.*", "s"),
        Column("step_time", r"step[ _]time[ _]decimal"),
        Column("temperature", r"temperature.*", "degC"),
        Column(CLOCK, r"real[ _]time"),
    ),
)

NEWARE = Vendor(
    "Neware",
    r"(?i)(\bChg\. ?Cap|\bDataPoint\b|\bRecord ?(ID|Index)\b|\bDChg\.|电压|"
    r"\bTotal Time\b|\bCapa?_D?Chg\b)",
    (
        Column("test_time", r"total ?time|test ?time|总时间|测试时间|累计时间", "s"),
        Column("voltage", r"vol(t|tage)?\.?|电压", "V"),
        Column("current", r"cur(rent)?\.?|电流"),
        Column("charge_capacity", r"chg\. ?cap(acity|\.)?|charge capacity|充电容量"),
        Column("charge_capacity", r"capacitance_chg|cap_chg"),
        Column("discharge_capacity", r"dchg\. ?cap(acity|\.)?|discharge capacity"),
        Column("discharge_capacity", r"capacitance_dchg|cap_dchg|放电容量"),
        Column("capacity", r"cap(acity|\.)?|容量"),
        Column("charge_energy", r"chg\. ?energy|charge energy|engy_chg|充电能量"),
        Column("discharge_energy", r"dchg\. ?energy|discharge energy|engy_dchg"),
        Column("discharge_energy", r"放电能量"),
        Column("energy", r"energy|能量"),
        Column("cycle", r"cycle index|cycle ?id|cycle|循环(序号|编号|号)"),
        Column("step", r"step index|step ?id|step|工步(序号|编号|号)"),
        Column("step_time", r"step ?time|relative ?time|工步时间|相对时间", "s"),
        Column("step_time", r"time|时间", "s"),
        Column("temperature", r"temperature|t1|温度", "degC"),
        Column(STATE, r"step ?type|step ?name|state|工步(类型|名称|状态)|状态"),
        Column(STATE, r"工作模式"),
        Column(CLOCK, r"date|realtime|date[ _]?time|absolute ?time"),
        Column(CLOCK, r"绝对时间|系统时间|实时时间|日期(时间)?"),
    ),
    dayfirst=False,
)

BITRODE = Vendor(
    "Bitrode",
    r"(?i)(bitrode|\bLoop Counter ?#1\b)",
    (
        Column("test_time", r"total ?time"),
        Column("voltage", r"voltage"),
        Column("current", r"current"),
        Column("capacity", r"amp-?hours", "A h"),
        Column("energy", r"watt-?hours", "W h"),
        Column("cycle", r"cycle"),
        Column("step", r"step"),
        Column("step_time", r"step ?time"),
        Column("temperature", r"temp(erature)?( ?#?1)?"),
        Column(STATE, r"mode"),
        Column(CLOCK, r"date[ /_]?time|timestamp"),
    ),
)

TOYO = Vendor(
    "Toyo",
    r"\bPass(ed)? ?Time\[Sec\]|\bTotlCycle\b",
    (
        Column("voltage", r"voltage"),
        Column("current", r"current"),
        Column("capacity", r"cap(acity)?"),
        Column("step", r"totlcycle|total cycle"),
        Column("step_time", r"pass(ed)? ?time"),
        Column("temperature", r"temp1(\[deg\])?", "degC"),
        Column(STATE, r"condition|state"),
    ),
    codes={"1": "charge", "2": "discharge"},
)

IVIUM = Vendor(
    "Ivium",
    r"(?im)^\s*time\s?/\s?s\s+I\s?/\s?[munµ]?A\s+E\s?/\s?m?V",
    (
        Column("test_time", r"time"),
        Column("voltage", r"e"),
        Column("current", r"i"),
        Column("cycle", r"scan"),
    ),
    dayfirst=True,
    start=r"\A\s*(\d\d/\d\d/\d{4} \d\d:\d\d:\d\d)",
    unlabelled=1,
)

GAMRY = Vendor(
    "Gamry",
    r"\AEXPLAIN\b",
    (
        Column("test_time", r"t|time"),
        Column("voltage", r"vf"),
        Column("voltage", r"voltage"),
        Column("current", r"im"),
        Column("current", r"current"),
        Column("cycle", r"cycle"),
        Column("temperature", r"temp"),
    ),
    start=r"Started: (.+)",
)

PALMSENS = Vendor(
    "PalmSens",
    r"\ADate and time:",
    (
        Column("test_time", r"s|time", "s"),
        Column("voltage", r"v|potential", "V"),
        Column("voltage", r"mv", "mV"),
        Column("current", r"a", "A"),
        Column("current", r"ma", "mA"),
        Column("current", r"[uµμ]a", "uA"),
        Column("current", r"na", "nA"),
        Column("current", r"current"),
    ),
    start=r"Started: (.+)",
)

#: Words of hand-made tables in German, French, Spanish, Italian, Russian, Japanese,
#: Korean and Chinese.
_WHOLE = r"gesamt-?|test-?|lauf-?|prüf-?|mess-?|总|総|累计|累計|測定|测试"
_TIMES = r"zeit|temps|tiempo|tempo|время|経過時間|時間|时间|시간|zeit seit start"
_OF_CELL = r"zell-?|klemmen-?|セル"
_VOLTAGES = r"spannung|tension|voltaje|tensión|tensione|напряжение|電圧|電壓|电压|전압"
_CURRENTS = r"strom|stromstärke|courant|corriente|corrente|ток|電流|电流|전류"
_DATES = r"datum|date|fecha|data(?= )|дата|日付|日期|날짜"
_JOINED = r"und|et|y|e|и"
_HOURS = r"(?:uhr)?zeit|heure|hora|ora|время|時刻|时间|시간|time"

#: Labels of most hand-made tables; units must be in the label, times may be in s.
GENERIC = Vendor(
    "",
    r"",
    (
        Column("test_time", r"(test|total|elapsed|run)[ _]?time", "s"),
        Column("test_time", r"time|t", "s"),
        Column("test_time", rf"({_WHOLE})?({_TIMES})", "s"),
        Column("voltage", r"(cell[ _])?(voltage|potential|volts?)|u|v|e|ewe", "V"),
        Column("voltage", r"working[ _]electrode([ _](voltage|potential))?"),
        Column("voltage", r"we\(1\)\.potential|terminal[ _]voltage"),
        Column("voltage", rf"({_OF_CELL})?({_VOLTAGES})", "V"),
        Column("voltage", r"mv", "mV"),
        Column("current", r"(cell[ _])?(current|amps?)|i|<i>", ""),
        Column("current", r"we\(1\)\.current"),
        Column("current", rf"({_OF_CELL})?({_CURRENTS})"),
        Column("current", r"ma", "mA"),
        Column("current", r"a", "A"),
        Column("charge_capacity", r"charge[ _]capacity"),
        Column("charge_capacity", r"lade-?kapazität|(충전|充[電电]) ?(용량|容量)"),
        Column("charge_capacity", r"capacit[éà] d[ei] (charge|carica)"),
        Column("discharge_capacity", r"discharge[ _]capacity"),
        Column(
            "discharge_capacity", r"entlade-?kapazität|(방전|放[電电]) ?(용량|容量)"
        ),
        Column("discharge_capacity", r"capacit[éà] d[ei] (décharge|scarica)"),
        Column("capacity", r"capacity|q|(cumulative|net)[ _](charge|capacity)"),
        Column("capacity", r"ladung|kapazität|capacité|capacità|capacidad|[ёе]мкость"),
        Column("capacity", r"容量|용량|ah"),
        Column("charge_energy", r"charge[ _]energy"),
        Column("discharge_energy", r"discharge[ _]energy"),
        Column("energy", r"energ(y|ie|ia|ía)|énergie|能量|энергия|에너지"),
        Column("cycle", r"cycle([ _](number|index|count|id))?|cycle#"),
        Column("cycle", r"zyk(lus|len)[ -]?(nummer|nr\.?|zahl|zähler)?|ciclo|цикл"),
        Column("cycle", r"サイクル(数|番号)?|循环(序号|编?号|数)?|사이클( ?번호)?"),
        Column("step", r"step([ _](number|index|count|id))?|step#"),
        Column("step", r"schritt[ -]?(nummer|nr\.?)?|étape|paso|шаг|工步(序?号)?"),
        Column("step_time", r"step[ _]?time"),
        Column("step_time", r"schritt[ -]?(zeit|dauer)|temps (de l')?étape"),
        Column("temperature", r"(cell[ _]|ambient[ _])?temp(erature)?|t1"),
        Column("temperature", r"(zell)?temperatura?|température|温度|온도|температура"),
        Column(STATE, r"state|status|step[ _](type|name)|mode|command|zustand|befehl"),
        Column(STATE, r"工步(类型|名称|状态)|状态|工作模式|状態|모드|상태|état|estado"),
        Column(
            CLOCK,
            r"date(( and |[ _/])?time)?|time[ _]?stamp|clock"
            r"|(unix|epoch|absolute|wall[ _]?clock|system|real)[ _]?time",
        ),
        Column(CLOCK, rf"(?:{_DATES})(?:[ _/-]?(?:{_JOINED})?[ _/-]?(?:{_HOURS}))?"),
        Column(CLOCK, r"zeitstempel|horodatage|servertime|日時|systime"),
        Column(HOURS, r"time of day"),
        Column(
            NUMBER,
            r"((data|test)[ _-]?)?(point|record|rec|row|sample)"
            r"([ _-]?(index|number|count|no\.?|id))?#?"
            r"|data[ _]?set|index|pt|no\.?|#|nr\.?|(数据|记录)?序号|记录(编)?号",
        ),
    ),
)

#: Text exports, by preference; the generic one takes files of no known maker.
TEXT = (
    GAMRY, ARBIN, LANDT, MACCOR, NOVONIX, BASYTEC, DIGATRON, PEC, BITRODE, TOYO,
    IVIUM, NEWARE, GENERIC,
)  # fmt: skip
