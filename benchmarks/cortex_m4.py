"""A model of the cycles of an Arm Cortex-M4, from what it executes.

Unicorn (QEMU's core as a library) executes a firmware and reports basic blocks and accesses to
memory; cortex_m4.c adds up what they cost by the rules here. Those are of the core's Technical
Reference Manual (Arm DDI 0439D, r0p1), tables 3-1 and 3-2 and section 3.3.2, for memory without
wait states; `weigh` has them one by one. Where the manual leaves a range:

- a taken branch refills the pipeline in `refill` cycles, 1 to 3: 2 where nothing else is said;
- a division takes 2 to 12 cycles, by its operands: 12, so that none is flattered;
- a load relative to the PC "might add a cycle": it does not here;
- an unaligned store takes more, as a load does, though the write buffer may hide it;
- what an IT instruction leaves out counts as if it were executed;
- a wide instruction at an odd halfword "might not pipeline optimally": it does here.

Flash with W wait states is that of an STM32F4 (RM0090, section 3.5): lines of 16 bytes; code has
the line behind the current one prefetched, and keeps the 64 lines that it waited for last; loads
keep 8. A line that is not there costs W cycles, less those that its prefetch was ahead. Stores and
SRAM never wait, and loads and fetches do not get into each other's way.
"""

import ctypes
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import unicorn
from elftools.elf.elffile import ELFFile
from unicorn import arm_const as arm

from compiler import hostrun

HERE = Path(__file__).resolve().parent
FLASH, SRAM, MOST = 0, 0x20000000, 0x400000  # where they begin, and their size: the firmware's
HOME = FLASH + MOST  # what a call returns to: behind the flash
REFILL = 2
DIVISION = 12

LINE = re.compile(r"^ *([0-9a-f]+):\t([0-9a-f ]+?) *\t(\S+)\s*([^;@<]*)")
CONDITION = "(?:eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?"
MULTIPLE = re.compile(r"(?:ldm|stm|push|pop)")
DOUBLE = re.compile(r"(?:ldrd|strd)")
SINGLE = re.compile(r"(ldr|str)(?:ex)?(?:s?[bh])?t?" + CONDITION + "$")
TABLE = re.compile(r"tb[bh]$")
DIVIDE = re.compile(r"[us]div" + CONDITION + "$")
IT = re.compile(r"it[te]*$")
JUMP = re.compile(r"(?:b|bl|bx|blx)$")  # without a condition
LONG = re.compile(r"(?:umull|smull|umlal|smlal|umaal|smlsld)")  # two registers of results
NO_RESULT = re.compile(
    r"(?:cmp|cmn|tst|teq|b|bl|bx|blx|cbn?z|nop|it[te]*|bkpt|svc)" + CONDITION + "$"
)
REGISTER = re.compile(r"\b(?:r1?\d|sl|fp|ip|sp|lr|pc|sb)\b")
ALIASES = {"sb": "r9", "sl": "r10", "fp": "r11", "ip": "r12"}


@dataclass(frozen=True)
class Instruction:
    """As objdump prints it. size: in bytes."""

    name: str
    operands: str = ""
    size: int = 2

    @property
    def mnemonic(self):
        """Its name without the width of its encoding."""
        return self.name.partition(".")[0]

    @property
    def single(self):
        """ "ldr" or "str" where it loads or stores one value, else None."""
        match = SINGLE.match(self.mnemonic)
        return match and match[1]

    @property
    def jumps(self):
        """Whether what follows it is never executed next, but by a branch there."""
        name = self.mnemonic
        to_pc = "pc" in self.operands and (name in ("pop", "ldm", "ldmia") or self._target == "pc")
        return bool(JUMP.match(name) or TABLE.match(name) or to_pc)

    @property
    def _target(self):
        return self.operands.partition(",")[0].strip()

    @property
    def listed(self):
        """How many registers a list as {r0, r4-r7, lr} names."""
        count = 0
        for part in re.search(r"{(.*)}", self.operands)[1].split(","):
            first, _, last = part.strip().partition("-")
            count += int(last[1:]) - int(first[1:]) + 1 if last else 1
        return count

    @property
    def address(self):
        """Registers of which it computes an address."""
        if MULTIPLE.match(self.mnemonic):
            listed_only = self.operands.startswith("{")  # of PUSH and POP
            return {"sp"} if listed_only else _registers(self.operands[:4])
        found = re.search(r"\[(.*?)\]", self.operands)
        return _registers(found[1]) if found else set()

    @property
    def results(self):
        """Registers that it computes, of what neither loads nor stores."""
        if NO_RESULT.match(self.mnemonic) or self.single or DOUBLE.match(self.mnemonic):
            return set()
        if MULTIPLE.match(self.mnemonic):
            return set()
        parts = self.operands.split(",")
        return _registers(",".join(parts[: 2 if LONG.match(self.mnemonic) else 1]))


def _registers(text):
    return {ALIASES.get(name, name) for name in REGISTER.findall(text)}


def weigh(instruction, before=None):
    """Cycles of an instruction behind `before`, None where a branch leads to it.

    Of a branch, those where it is not taken.
    """
    name = instruction.mnemonic
    stall = bool(before and instruction.address & before.results)  # no forwarding: section 3.3.2
    if IT.match(name):
        return 0 if before and before.size == 2 else 1  # folded: note d of table 3-1
    if MULTIPLE.match(name):
        return stall + 1 + instruction.listed
    if DOUBLE.match(name):
        return stall + 3
    if TABLE.match(name):
        return stall + 4  # "at least six cycles", with 2 of the refill
    if DIVIDE.match(name):
        return DIVISION
    if instruction.single:
        return stall + _single(instruction, before)
    return 1


def _single(instruction, before):
    """Cycles of a load or store of one value, where its address is there in time."""
    if instruction.single == "ldr" and instruction._target == "pc":
        return 3  # "at least five cycles", with 2 of the refill
    if instruction.single == "str" and len(instruction.address) == 1:
        return 1  # "always one cycle"
    loaded = _registers(before.operands.partition(",")[0]) if before else set()
    behind_load = before and before.single == "ldr" and not loaded & instruction.address
    return 1 if behind_load else 2


def instructions(elf):
    """{address: `Instruction`} of the code in `elf`."""
    command = ["arm-none-eabi-objdump", "-d", elf]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = filter(None, map(LINE.match, text.splitlines()))
    return {
        int(line[1], 16): Instruction(line[3], line[4].strip(), len(line[2].replace(" ", "")) // 2)
        for line in found
        if not line[3].startswith(".")
    }


def sums(code):
    """(instructions and cycles in front of each halfword, uint32 [n + 1]; what an instruction there
    takes more where a branch leads to it, and whether the one in front always branches, int8 [n])
    of {address: `Instruction`}."""
    count = max(code) // 2 + 3
    numbers, cycles = np.zeros(count, np.uint32), np.zeros(count, np.uint32)
    branched, jumped = np.zeros(count, np.int8), np.zeros(count, np.int8)
    before, end = None, None
    for address, instruction in sorted(code.items()):
        at = address // 2
        numbers[at] = 1
        cycles[at] = weigh(instruction, before if end == address else None)
        branched[at] = weigh(instruction) - int(cycles[at])
        before, end = instruction, address + instruction.size
        jumped[end // 2] = instruction.jumps
    return (
        *(np.concatenate([[0], np.cumsum(a)]).astype(np.uint32) for a in (numbers, cycles)),
        branched,
        jumped,
    )


class _Cost(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("instructions", "cycles", "stalls")]


class _State(ctypes.Structure):
    """As in cortex_m4.c."""

    _fields_ = [
        ("instructions", ctypes.c_void_p),
        ("cycles", ctypes.c_void_p),
        ("branched", ctypes.c_void_p),
        ("jumped", ctypes.c_void_p),
        *((name, ctypes.c_uint32) for name in ("refill", "wait_states")),
        *((name, ctypes.c_uint32) for name in ("mark", "marked", "number", "most")),
        ("costs", ctypes.POINTER(_Cost)),
        *((name, ctypes.c_uint32) for name in ("end", "begun")),
        ("lines", ctypes.c_int64 * 128),
    ]


@dataclass(frozen=True)
class Cost:
    """Executed instructions; cycles without wait states; cycles that wait for flash beside them."""

    instructions: int
    cycles: int
    stalls: int

    @classmethod
    def total(cls, costs):
        """Of several `Cost`s, one after the other."""
        return cls(*map(sum, zip(*((c.instructions, c.cycles, c.stalls) for c in costs))))

    @classmethod
    def mean(cls, costs):
        """Of several `Cost`s, whole numbers."""
        whole = cls.total(costs)
        sums = whole.instructions, whole.cycles, whole.stalls
        return cls(*(round(number / len(costs)) for number in sums))


class Machine:
    """A Cortex-M4 with the firmware `elf` loaded.

    wait_states: of its flash; refill: of its pipeline, in cycles; mark: a function that is not
    executed, but begins a new `Cost` wherever it is called, at most so many times.
    """

    def __init__(self, elf, wait_states=0, refill=REFILL, mark=None, most=1):
        mode = unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
        self.engine = unicorn.Uc(unicorn.UC_ARCH_ARM, mode)
        self.engine.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M4)
        self.engine.mem_map(FLASH, MOST + 0x1000)
        self.engine.mem_map(SRAM, MOST)
        with Path(elf).open("rb") as file:
            image = ELFFile(file)
            for segment in image.iter_segments("PT_LOAD"):
                self.engine.mem_write(segment["p_paddr"], segment.data())
                self.engine.mem_write(segment["p_vaddr"], segment.data())  # .data, where it runs
            table = image.get_section_by_name(".symtab")
            self.symbols = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
        self._sums = sums(instructions(elf))
        self._costs = (_Cost * most)()
        places = [array.ctypes.data for array in self._sums]
        self._state = _State(*places, refill, wait_states, 0xFFFFFFFF, 0, 0, most, self._costs)
        if mark:
            self._state.mark = self.symbols[mark] & ~1
            self.engine.mem_write(self._state.mark, b"\x70\x47")  # bx lr
        self._hook()

    def _hook(self):
        """Has cortex_m4.c called, as Python would take minutes."""
        library = next((Path(unicorn.__file__).parent / "lib").glob("*unicorn*.[sd]*"))
        add, pointer = ctypes.CDLL(library).uc_hook_add, ctypes.c_void_p
        add.argtypes = [pointer, pointer, ctypes.c_int, pointer, pointer] + [ctypes.c_uint64] * 2
        memory = unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE
        with tempfile.TemporaryDirectory() as folder:
            flags = "-shared", "-fPIC"
            built = hostrun.compile_c(Path(folder) / "cortex_m4.so", [HERE / "cortex_m4.c"], *flags)
            self._library = ctypes.CDLL(built)
        for kind, name in ((unicorn.UC_HOOK_BLOCK, "entered"), (memory, "accessed")):
            function = ctypes.cast(getattr(self._library, name), pointer)
            handle = ctypes.c_size_t()
            state = ctypes.addressof(self._state)
            failed = add(self.engine._uch, ctypes.addressof(handle), kind, function, state, 1, 0)
            if failed:
                raise unicorn.UcError(failed)

    def call(self, name, *arguments):
        """Call a function; returns its result, and counts anew."""
        ctypes.memset(self._costs, 0, ctypes.sizeof(self._costs))
        state, registers = self._state, range(arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R0 + 4)
        state.number = state.begun = 0
        state.lines[:] = [-1] * len(state.lines)
        state.end, state.marked = self.symbols[name] & ~1, 1  # the call itself is not counted
        for register, value in zip(registers, arguments):
            self.engine.reg_write(register, value)
        self.engine.reg_write(arm.UC_ARM_REG_SP, self.symbols["__stack_top"])
        self.engine.reg_write(arm.UC_ARM_REG_LR, HOME | 1)
        self.engine.emu_start(self.symbols[name] | 1, HOME)
        return self.engine.reg_read(arm.UC_ARM_REG_R0)

    @property
    def costs(self):
        """The `Cost` of the last call up to each mark."""
        return [Cost(c.instructions, c.cycles, c.stalls) for c in self._costs]
