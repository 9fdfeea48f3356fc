"""The emulator's core: against Unicorn instruction by instruction, each trap, each cycle cost."""

import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from conftest import ROOT, SANITIZE, links

import cli

unicorn = pytest.importorskip("unicorn")
from unicorn import riscv_const as uc  # noqa: E402

SRAM, FLASH, CODE_BYTES, SRAM_BYTES = 0x20000000, 0x08000000, 96, 2048
PC = SRAM + 0x400  # where test programs lie, in the middle of SRAM
STOPS = ("at address", "at breakpoint", "asleep", "out of time", "trapped")
CLASSES = ("alu", "mul", "load_sram", "load_flash", "load_io", "store", "taken", "not_taken")
NOP, WFI, EBREAK = 0x00000013, 0x10500073, 0x00100073

JOB = np.dtype(
    [(name, "<u4") for name in ("pc", "has_mul", "wait_states", "steps", "fresh", "asleep_host")]
    + [
        ("stack_end", "<u4"),
        ("x", "<u4", 16),
        ("code", "u1", CODE_BYTES),
        ("sram", "u1", SRAM_BYTES),
    ]
)
OUTCOME = np.dtype(
    [("x", "<u4", 16), ("pc", "<u4"), ("stop", "<u4"), ("cycles", "<u4"), ("instructions", "<u4")]
    + [("count", "<u4", 9), ("sram", "u1", SRAM_BYTES), ("trap", "S200"), ("console", "S56")]
)


@pytest.fixture(scope="session")
def emulate(tmp_path_factory):
    """jobs (array of JOB) -> outcomes (array of OUTCOME), by the core with sanitizers."""
    program = tmp_path_factory.mktemp("emulator") / "harness"
    command = ["cc", *SANITIZE] if links(["cc", *SANITIZE]) else ["cc", "-O1"]
    folder = ROOT / "mcu" / "emulator"
    sources = [
        ROOT / "tests" / "emulator_harness.c",
        *(folder / f"{name}.c" for name in ("cpu", "decode", "peripherals")),
    ]
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I", folder]
    subprocess.run([*command, *flags, "-o", program, *sources], check=True)

    def run(jobs):
        done = subprocess.run([program], input=jobs.tobytes(), capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return np.frombuffer(done.stdout, OUTCOME)

    return run


# --- Encodings (The RISC-V Instruction Set Manual, Volume I)


def r_type(funct7, rs2, rs1, funct3, rd, opcode=0x33):
    return funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def i_type(imm, rs1, funct3, rd, opcode=0x13):
    return (imm & 0xFFF) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def s_type(imm, rs2, rs1, funct3):
    return (imm >> 5 & 127) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | 0x23


def b_type(imm, rs2, rs1, funct3):
    high = (imm >> 12 & 1) << 31 | (imm >> 5 & 63) << 25
    return (
        high
        | rs2 << 20
        | rs1 << 15
        | funct3 << 12
        | (imm >> 1 & 15) << 8
        | (imm >> 11 & 1) << 7
        | 0x63
    )


def j_type(imm, rd):
    bits = (imm >> 20 & 1) << 31 | (imm >> 1 & 0x3FF) << 21 | (imm >> 11 & 1) << 20
    return bits | (imm >> 12 & 0xFF) << 12 | rd << 7 | 0x6F


def lui(rd, value):
    return (value & 0xFFFFF000) | rd << 7 | 0x37


def li(rd, value):
    """Two instructions that load any 32-bit constant."""
    return lui(rd, value + 0x800), i_type(value, rd, 0, rd)


REGISTER_OPS = {
    "add": (0, 0),
    "sub": (32, 0),
    "sll": (0, 1),
    "slt": (0, 2),
    "sltu": (0, 3),
    "xor": (0, 4),
    "srl": (0, 5),
    "sra": (32, 5),
    "or": (0, 6),
    "and": (0, 7),
    "mul": (1, 0),
    "mulh": (1, 1),
    "mulhsu": (1, 2),
    "mulhu": (1, 3),
}
IMMEDIATE_OPS = {"addi": 0, "slti": 2, "sltiu": 3, "xori": 4, "ori": 6, "andi": 7}
SHIFT_OPS = {"slli": (0, 1), "srli": (0, 5), "srai": (32, 5)}
LOADS = {"lb": 0, "lh": 1, "lw": 2, "lbu": 4, "lhu": 5}
STORES = {"sb": 0, "sh": 1, "sw": 2}
BRANCHES = {"beq": 0, "bne": 1, "blt": 4, "bge": 5, "bltu": 6, "bgeu": 7}


def random_instruction(rng, name, x):
    """A random encoding of `name`; may change the registers `x` so that addresses are good."""
    rd, rs1, rs2 = (int(v) for v in rng.integers(0, 16, 3))
    imm = int(rng.integers(-2048, 2048))
    if name in REGISTER_OPS:
        funct7, funct3 = REGISTER_OPS[name]
        return r_type(funct7, rs2, rs1, funct3, rd)
    if name in IMMEDIATE_OPS:
        return i_type(imm, rs1, IMMEDIATE_OPS[name], rd)
    if name in SHIFT_OPS:
        funct7, funct3 = SHIFT_OPS[name]
        return i_type(funct7 << 5 | imm & 31, rs1, funct3, rd)
    if name in LOADS or name in STORES:
        funct3 = (LOADS | STORES)[name]
        size = 1 << (funct3 & 3)
        target = SRAM + int(rng.integers(0, 0x400 // size)) * size  # below the program
        rs1 = int(rng.integers(1, 16))
        x[rs1] = (target - imm) & 0xFFFFFFFF
        return i_type(imm, rs1, funct3, rd, 3) if name in LOADS else s_type(imm, rs2, rs1, funct3)
    near = int(rng.integers(-200, 200)) * 2
    if name in BRANCHES:
        if rng.random() < 0.3:
            x[rs2] = x[rs1]
        return b_type(near, rs2, rs1, BRANCHES[name])
    if name == "jal":
        return j_type(near, rd)
    if name == "jalr":
        rs1 = int(rng.integers(1, 16))
        x[rs1] = (PC + near - imm) & 0xFFFFFFFF
        return i_type(imm, rs1, 0, rd, 0x67)
    return (int(rng.integers(0, 1 << 20)) << 12) | rd << 7 | {"lui": 0x37, "auipc": 0x17}[name]


NAMES = [*REGISTER_OPS, *IMMEDIATE_OPS, *SHIFT_OPS, *LOADS, *STORES, *BRANCHES]
NAMES += ["jal", "jalr", "lui", "auipc"]


def interesting(rng, count):
    """Random 32-bit values, many of them at the edges of their range."""
    edges = np.array([0, 1, 2, 31, 32, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF], np.uint32)
    values = rng.integers(0, 2**32, count, dtype=np.uint32)
    return np.where(rng.random(count) < 0.4, rng.choice(edges, count), values)


def new_jobs(rng, count):
    """Jobs with random registers; SRAM is random below the program and NOPs around it."""
    jobs = np.zeros(count, JOB)
    jobs["pc"], jobs["has_mul"], jobs["steps"] = PC, 1, 1
    jobs["x"] = interesting(rng, count * 16).reshape(count, 16)
    jobs["x"][:, 0] = 0
    jobs["sram"] = rng.integers(0, 256, (count, SRAM_BYTES))
    nops = np.frombuffer(np.full(256, NOP, "<u4").tobytes(), np.uint8)
    jobs["sram"][:, 0x200:0x600] = nops
    jobs["code"] = nops[:CODE_BYTES]
    return jobs


class Reference:
    """The same jobs on Unicorn."""

    def __init__(self):
        self.engine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        self.engine.mem_map(SRAM - 0x2000, 0x5000)  # far jumps land in mapped memory
        self.registers = [uc.UC_RISCV_REG_X0 + i for i in range(16)]

    def run(self, job):
        """(registers, pc, SRAM) after the job's steps, or None if Unicorn refuses."""
        engine = self.engine
        engine.mem_write(SRAM, job["sram"].tobytes())
        engine.mem_write(int(job["pc"]), job["code"].tobytes())
        engine.ctl_remove_cache(SRAM, SRAM + 0x1000)
        for register, value in zip(self.registers[1:], job["x"][1:]):
            engine.reg_write(register, int(value))
        try:
            engine.emu_start(int(job["pc"]), 0xFFFFFFFF, count=int(job["steps"]))
        except unicorn.UcError:
            return None
        registers = [engine.reg_read(register) for register in self.registers]
        return registers, engine.reg_read(uc.UC_RISCV_REG_PC), engine.mem_read(SRAM, SRAM_BYTES)


@pytest.fixture(scope="session")
def reference():
    return Reference()


def assert_same(job, outcome, expected):
    code = job["code"][:8].tobytes().hex()
    assert expected is not None, f"Unicorn refuses {code}"
    registers, pc, sram = expected
    assert outcome["trap"] == b"", (code, outcome["trap"])
    assert outcome["x"].tolist() == registers, code
    assert outcome["pc"] == pc, code
    assert outcome["sram"].tobytes() == bytes(sram), code


@pytest.mark.parametrize("name", NAMES)
def test_instruction_does_what_unicorn_does(name, rng, emulate, reference):
    jobs = new_jobs(rng, 60)
    for job in jobs:
        word = random_instruction(rng, name, job["x"])
        job["code"][:4] = np.frombuffer(word.to_bytes(4, "little"), np.uint8)
    for job, outcome in zip(jobs, emulate(jobs)):
        assert_same(job, outcome, reference.run(job))


def test_random_programs_do_what_unicorn_does(rng, emulate, reference):
    """Fifteen instructions that need no addresses, one after the other."""
    names = [n for n in NAMES if n not in {*LOADS, *STORES, *BRANCHES, "jal", "jalr"}]
    jobs = new_jobs(rng, 400)
    jobs["steps"] = 15
    for job in jobs:
        words = [random_instruction(rng, rng.choice(names), job["x"]) for _ in range(15)]
        job["code"][:60] = np.frombuffer(np.array(words, "<u4").tobytes(), np.uint8)
    for job, outcome in zip(jobs, emulate(jobs)):
        assert_same(job, outcome, reference.run(job))
        assert outcome["instructions"] == 15


def uses_high_registers(half):
    """Whether a legal RV32C encoding names x16..x31, which RV32E lacks."""
    quadrant, funct3 = half & 3, half >> 13
    rd, rs2 = half >> 7 & 31, half >> 2 & 31
    if quadrant == 1:
        return funct3 in (0, 2, 3) and rd > 15
    if quadrant == 2:
        return (funct3 in (0, 2, 4) and rd > 15) or (funct3 in (4, 6) and rs2 > 15)
    return False


def is_float(half):
    return (half & 3, half >> 13) in {(q, f) for q in (0, 2) for f in (1, 3, 5, 7)}


def is_not_rv32c(half):
    """Encodings of RV64C and of the later extension Zcb: Unicorn knows them, these cores do not."""
    return (half & 3, half >> 13) == (0, 4) or half & 0xFC03 == 0x9C01


def is_wide_shift(half):
    """Shifts by 32 or more: reserved for custom use on RV32, traps here; Unicorn varies."""
    shift_left = half & 3 == 2 and half >> 13 == 0
    shift_right = half & 3 == 1 and half >> 13 == 4 and (half >> 10 & 3) < 2
    return (shift_left or shift_right) and half >> 12 & 1


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, 12))]
)
def test_compressed_encodings_do_what_unicorn_does(part, rng, emulate, reference):
    """Every twelfth 16-bit encoding; all of them in the long tests. What is legal does the same,
    what Unicorn refuses traps, and so do float and x16..x31, which these cores do not have."""
    halves = [half for half in range(part, 65536, 12) if half & 3 != 3]
    jobs = new_jobs(rng, len(halves))
    jobs["sram"] = 1  # c.nop everywhere: jumps land on an instruction
    jobs["sram"][:, 1::2] = 0
    jobs["x"] = SRAM + 0x100 + 4 * rng.integers(0, 64, jobs["x"].shape)
    jobs["code"] = jobs["sram"][:, :CODE_BYTES]
    for job, half in zip(jobs, halves):
        job["code"][:2] = half & 255, half >> 8
        if half & 3 == 2 and half >> 13 == 4 and half >> 2 & 31 == 0:
            job["x"] += 0x300  # c.jr, c.jalr: not into what is stored by others
    for job, half, outcome in zip(jobs, halves, emulate(jobs)):
        if half == 0x9002:  # c.ebreak
            assert outcome["trap"] == b"ebreak"
        elif any(f(half) for f in (is_float, is_not_rv32c, uses_high_registers, is_wide_shift)):
            assert outcome["trap"] == b"illegal instruction", hex(half)
        else:
            expected = reference.run(job)
            if expected is None:
                assert outcome["trap"] == b"illegal instruction", hex(half)
            elif not SRAM <= expected[1] < SRAM + SRAM_BYTES:  # a far jump
                assert outcome["trap"] == f"execution at 0x{expected[1]:08x}, where ".encode() + (
                    b"there is nothing"
                )
            else:
                assert_same(job, outcome, expected)


# --- Traps and cycles: small programs


@dataclass
class Program:
    """Instructions (int: 32 bits, bytes: as they are) and the state they start from."""

    code: tuple
    x: dict
    pc: int = SRAM + 0x400
    steps: int = 100
    wait_states: int = 0
    has_mul: bool = False
    fresh: bool = False
    asleep_host: bool = False
    stack_end: int = 0

    def job(self):
        job = np.zeros((), JOB)
        parts = [i if isinstance(i, bytes) else i.to_bytes(4, "little") for i in self.code]
        code = b"".join(parts) + NOP.to_bytes(4, "little") * (CODE_BYTES // 4)
        code = code[:CODE_BYTES]
        job["code"] = np.frombuffer(code, np.uint8)
        for name in set(JOB.names) - {"code", "sram", "x"}:
            job[name] = getattr(self, name)
        for register, value in self.x.items():
            job["x"][register] = value
        return job


def run(emulate, *code, x=None, **options):
    """The outcome of a small program."""
    return emulate(np.array([Program(code, x or {}, **options).job()]))[0]


PUSH, POP = i_type(-16, 2, 0, 2), i_type(16, 2, 0, 2)  # addi sp, sp, -16; and back
LW, SW = i_type(0, 8, 2, 9, 3), s_type(0, 9, 8, 2)  # lw s1, 0(s0); sw s1, 0(s0)
MUL = r_type(1, 9, 8, 0, 9)
RCC, GPIOC, USART, SYSTICK = 0x40021000, 0x40011000, 0x40013800, 0xE000F000


@pytest.mark.parametrize(
    ("message", "code", "options"),
    [
        ("illegal instruction", (b"\0\0",), {}),
        ("illegal instruction", (0xFFFFFFFF,), {}),
        ("illegal instruction", (r_type(0, 9, 8, 0, 16),), {}),
        ("illegal instruction", (r_type(0, 17, 8, 0, 9),), {}),
        ("illegal instruction", (i_type(0, 31, 0, 9),), {}),
        ("illegal instruction", (MUL,), {}),
        ("illegal instruction", (r_type(1, 9, 8, 4, 9),), {"has_mul": True}),  # div
        ("illegal instruction", (0x0000100F,), {}),  # fence.i
        ("ebreak", (EBREAK,), {}),
        ("ecall", (0x73,), {}),
        ("misaligned load of 4", (LW,), {"x": {8: SRAM + 2}}),
        ("misaligned load of 2", (i_type(1, 8, 1, 9, 3),), {"x": {8: SRAM}}),
        ("misaligned store of 4", (SW,), {"x": {8: SRAM + 1}}),
        ("misaligned store of 2", (s_type(0, 9, 8, 1),), {"x": {8: SRAM + 3}}),
        ("load of 4 bytes from 0x30000000", (LW,), {"x": {8: 0x30000000}}),
        ("load of 4 bytes from 0x20000800", (LW,), {"x": {8: SRAM + 2048}}),
        ("load of 4 bytes from 0x00004000", (LW,), {"x": {8: 16384}}),
        ("load of 1 bytes from 0x40021000", (i_type(0, 8, 0, 9, 3),), {"x": {8: RCC}}),
        ("store of 4 bytes to 0x20000800", (SW,), {"x": {8: SRAM + 2048}}),
        ("store to flash, at 0x00000100", (SW,), {"x": {8: 0x100}}),
        ("store to flash, at 0x08000100", (SW,), {"x": {8: FLASH + 0x100}}),
        ("SRAM never written, at 0x20000010", (LW,), {"x": {8: SRAM + 16}, "fresh": True}),
        ("execution at 0x30000000", (i_type(0, 8, 0, 1, 0x67),), {"x": {8: 0x30000000}}),
        ("execution of SRAM never", (i_type(0, 8, 0, 1, 0x67),), {"x": {8: SRAM}, "fresh": True}),
        ("misaligned jump", (0x30200073,), {}),  # mret, after mepc = 1 below
        ("ends behind its memory", (i_type(0, 8, 0, 1, 0x67),), {"x": {8: SRAM + 2046}}),
        ("CSR 0xc00 is not modelled", (i_type(0xC00, 0, 2, 9, 0x73),), {}),
        ("register 0x40000000 is not", (LW,), {"x": {8: 0x40000000}}),
        ("RCC register at offset 0x10", (LW,), {"x": {8: RCC + 0x10}}),
        ("GPIOC accessed while its clock", (SW,), {"x": {8: GPIOC}}),
        ("USART1 accessed while its clock", (SW,), {"x": {8: USART}}),
        ("SysTick register at offset 0x14", (LW,), {"x": {8: SYSTICK + 0x14}}),
        ("the firmware asks for a reset", (SW,), {"x": {8: 0xE000E048, 9: 0xBEEF0080}}),
        ("the PLL, which is not ready", (SW,), {"x": {8: RCC + 4, 9: 2}}),
        ("the internal oscillator is off", (SW,), {"x": {8: RCC, 9: 0}}),
        ("24 MHz with 0 flash wait", (SW,), {"x": {8: RCC + 4, 9: 0}, "has_mul": True}),
    ],
)
def test_what_the_chip_would_not_do_traps(message, code, options, emulate):
    if message == "misaligned jump":  # csrwi mepc, 1
        code = (i_type(0x341, 1, 5, 0, 0x73), *code)
    if message == "ends behind its memory":  # the last halfword of SRAM begins a 32-bit instruction
        code = (i_type(3, 0, 0, 9), s_type(0, 9, 8, 1), *code)
    outcome = run(emulate, *code, **options)
    assert STOPS[outcome["stop"]] == "trapped"
    assert message in outcome["trap"].decode()
    # There, and not behind the program, where zeros are illegal instructions, too.
    assert outcome["pc"] == PC + 4 * (len(code) - 1)


@pytest.mark.parametrize(
    ("message", "address", "access"),
    [
        ("GPIO register at offset 0x18", GPIOC + 0x18, LW),
        ("store to GPIO INDR", GPIOC + 8, SW),
        ("USART1 register at offset 0x18", USART + 0x18, LW),
        ("USART1: receiving is not modelled", USART + 4, LW),
    ],
)
def test_registers_that_are_not_modelled_trap(message, address, access, emulate):
    clocks_on = (*li(8, RCC + 0x18), *li(9, 1 << 14 | 1 << 4), SW)
    outcome = run(emulate, *clocks_on, *li(8, address), access)
    assert message in outcome["trap"].decode()


def test_a_stack_that_grows_into_variables_traps(emulate):
    """.bss ends at 0x20000100: 16 bytes above it may be pushed once."""
    end, x = SRAM + 0x100, {2: SRAM + 0x110}
    assert STOPS[run(emulate, PUSH, WFI, x=x, stack_end=end)["stop"]] == "asleep"
    outcome = run(emulate, PUSH, PUSH, WFI, x=x, stack_end=end)
    assert b"stack grows to 0x200000f0, into variables, which end at 0x20000100" in outcome["trap"]
    assert outcome["pc"] == PC + 4 and outcome["x"][2] == end
    # also where another instruction sets it
    outcome = run(emulate, *li(8, SRAM), i_type(0, 8, 0, 2), WFI, x=x, stack_end=end)
    assert b"stack grows to 0x20000000" in outcome["trap"]


def test_what_was_popped_from_the_stack_is_uninitialised_again(emulate):
    """A slot is written, popped, and read by the next one to push."""
    x = {2: SRAM + 0x110, 8: SRAM + 0x104}
    assert STOPS[run(emulate, PUSH, SW, LW, POP, WFI, x=x)["stop"]] == "asleep"
    for code in ((PUSH, SW, POP, LW), (PUSH, SW, POP, PUSH, LW)):
        trap = run(emulate, *code, WFI, x=x)["trap"]
        assert b"load of SRAM popped from the stack, at 0x20000104" in trap
    assert STOPS[run(emulate, PUSH, SW, POP, PUSH, SW, LW, WFI, x=x)["stop"]] == "asleep"
    outside = x | {8: SRAM + 0x110}  # the byte above what was popped is still there
    assert STOPS[run(emulate, PUSH, SW, POP, LW, WFI, x=outside)["stop"]] == "asleep"


def test_full_speed_without_wait_states_traps(emulate):
    """RCC CTLR: HSI and PLL on; then CFGR0: undivided, PLL."""
    code = (*li(8, RCC), *li(9, 0x01000083), SW, i_type(2, 0, 0, 9), s_type(4, 9, 8, 2), WFI)
    assert b"48 MHz with 0 flash wait states" in run(emulate, *code)["trap"]
    assert STOPS[run(emulate, *code, wait_states=1)["stop"]] == "asleep"


def test_usart_that_is_not_set_up_traps_and_then_sends(emulate):
    clock = (*li(8, RCC + 0x18), *li(9, 1 << 14 | 1 << 5), SW)
    pin = (*li(8, GPIOC + 0x400), *li(9, 0x44B44444), SW)  # PD5: alternate function
    send = (i_type(65, 0, 0, 9), s_type(4, 9, 8, 2), WFI)
    outcome = run(emulate, *clock, *li(8, USART), *send)
    assert b"sends before it is set up" in outcome["trap"]
    on = (s_type(8, 9, 8, 2), *li(9, 0x2008), s_type(0xC, 9, 8, 2))
    outcome = run(emulate, *clock, *li(8, USART), *on, *send)
    assert b"PD5 is not its push-pull output" in outcome["trap"]
    assert run(emulate, *clock, *pin, *li(8, USART), *on, *send)["console"] == b"A"


def test_driving_a_pin_that_is_no_output_traps(emulate):
    clock = (*li(8, RCC + 0x18), i_type(16, 0, 0, 9), SW, *li(8, GPIOC))
    drive = (i_type(1, 0, 0, 9), s_type(0x10, 9, 8, 2), WFI)
    assert b"PC0 is driven but is not" in run(emulate, *clock, *drive)["trap"]
    output = (*li(9, 0x44444441), SW)
    assert STOPS[run(emulate, *clock, *output, *drive)["stop"]] == "asleep"


def test_mailbox_carries_characters_while_a_host_listens(emulate):
    """DMDATA1 holds c3.., DMDATA0 the status 0x80 | (4 + 4) and c0 to c2."""
    code = (*li(8, 0xE00000F0), i_type(ord("D"), 0, 0, 9), s_type(8, 9, 8, 2))
    code += (*li(9, 0x43424188), s_type(4, 9, 8, 2), i_type(4, 8, 2, 10, 3), WFI)
    heard = run(emulate, *code)
    assert heard["console"] == b"ABCD" and heard["x"][10] & 0x80 == 0
    unheard = run(emulate, *code, asleep_host=True)
    assert unheard["console"] == b"" and unheard["x"][10] & 0x80


def cycles(emulate, *code, before=0, **options):
    """Modelled cycles of `code` alone, which ends in the WFI that is added."""
    outcome = run(emulate, *code, WFI, **options)
    assert STOPS[outcome["stop"]] == "asleep", outcome["trap"]
    in_flash = options.get("pc", SRAM) < SRAM
    return outcome["cycles"] - (1 + (options.get("wait_states", 0) if in_flash else 0)) - before


C_NOP, C_LW, C_J4 = b"\x01\x00", b"\x04\x40", b"\x11\xa0"  # c.nop; c.lw s1, 0(s0); c.j +4
ADDI = i_type(1, 9, 0, 9)
NOT_TAKEN, TAKEN = b_type(8, 0, 8, 0), b_type(8, 0, 0, 0)  # beq s0, x0; beq x0, x0
AT = {"sram": {}, "flash0": {"pc": 0x100}, "flash1": {"pc": 0x100, "wait_states": 1}}
AT["flash2"] = {"pc": 0x100, "wait_states": 2}


@pytest.mark.parametrize(
    ("code", "costs"),
    [
        ((C_NOP, C_NOP), {"sram": 2, "flash0": 2, "flash1": 2, "flash2": 2}),
        ((ADDI,), {"sram": 1, "flash0": 1, "flash1": 2, "flash2": 3}),
        ((C_LW, C_NOP), {"sram": 3, "flash0": 3, "flash1": 3, "flash2": 3}),
        ((LW,), {"sram": 2, "flash0": 2, "flash1": 2, "flash2": 2}),
        ((SW,), {"sram": 2, "flash0": 2, "flash1": 2, "flash2": 2}),
        ((NOT_TAKEN,), {"sram": 1, "flash0": 1, "flash1": 2, "flash2": 3}),
        ((TAKEN, ADDI), {"sram": 3, "flash0": 3, "flash1": 4, "flash2": 5}),
        # c.j from a word-aligned place to a word-aligned one, over two halfwords
        ((C_J4, C_NOP), {"sram": 3, "flash0": 3, "flash1": 4, "flash2": 5}),
        # a nop first: c.j from an unaligned place, to an unaligned compressed instruction
        ((C_NOP, C_J4, C_NOP, C_NOP), {"sram": 5, "flash0": 5, "flash1": 7, "flash2": 9}),
        # the same to an unaligned 32-bit instruction: one more
        ((C_NOP, C_J4, C_NOP, ADDI, C_NOP), {"sram": 7, "flash0": 7, "flash1": 10, "flash2": 13}),
    ],
)
@pytest.mark.parametrize("place", AT)
def test_cycles_of_the_table(code, costs, place, emulate):
    assert cycles(emulate, *code, x={8: SRAM + 0x100}, **AT[place]) == costs[place]


@pytest.mark.parametrize(("wait_states", "cost"), [(0, 2), (1, 3), (2, 4)])
def test_cycles_of_a_load_from_flash(wait_states, cost, emulate):
    assert cycles(emulate, LW, x={8: 0x200}, wait_states=wait_states) == cost


def c_bnez_a0(offset):
    """c.bnez a0, offset"""
    imm = offset & 0x1FF
    low = imm >> 6 & 3, imm >> 1 & 3, imm >> 5 & 1
    fields = (imm >> 8) << 12 | (imm >> 3 & 3) << 10 | low[0] << 5 | low[1] << 3 | low[2] << 2
    return (0xE101 | fields).to_bytes(2, "little")


# Measured on a CH32V003 at 48 MHz by cpldcpu (github.com/cpldcpu/DRAM_exploration, folder
# instruction_timing): cycles of a round of a loop that counts down, at a word-aligned place, with
# so many instructions before the countdown. As far as its text has figures: those of stores in
# flash are in a picture (docs/emulator.md).
C_SW = b"\x14\xc2"  # c.sw a3, 0(a2)
COUNTS = (0, 1, 2, 3, 4, 8)
MEASURED = {
    ("16-bit nops", "sram"): (4, 5, 6, 7, 8, 12),
    ("16-bit nops", "flash1"): (6, 6, 8, 8, 10, 14),
    ("32-bit nops", "sram"): (4, 5, 6, 7, 8, 12),
    ("32-bit nops", "flash1"): (6, 8, 10, 12, 14, 22),
    ("16-bit stores", "sram"): (4, 6, 8, 10, 12, 20),
}
REPEATED = {"16-bit nops": C_NOP, "32-bit nops": NOP.to_bytes(4, "little"), "16-bit stores": C_SW}


@pytest.mark.parametrize(("what", "place"), MEASURED)
def test_loops_take_the_cycles_that_were_measured_on_a_chip(what, place, emulate):
    for count, measured in zip(COUNTS, MEASURED[what, place]):
        body = REPEATED[what] * count + b"\x7d\x15"  # c.addi a0, -1
        loop = body + c_bnez_a0(-len(body))
        rounds = [
            cycles(emulate, loop, x={10: n, 12: SRAM + 0x100}, steps=9999, **AT[place])
            for n in (100, 200)
        ]
        assert rounds[1] - rounds[0] == 100 * measured, count


@pytest.mark.parametrize(("place", "cost"), [("sram", 2), ("flash0", 2), ("flash1", 3)])
def test_cycles_of_a_multiplication(place, cost, emulate):
    assert cycles(emulate, MUL, has_mul=True, **AT[place]) == cost


def test_systick_counts_cycles_or_eighths(emulate):
    on = (*li(8, SYSTICK), i_type(5, 0, 0, 9), s_type(0, 9, 8, 2), i_type(8, 8, 2, 10, 3))
    after = run(emulate, *on, *[NOP] * 6, i_type(8, 8, 2, 11, 3), WFI)
    assert after["x"][11] - after["x"][10] == 6 + 2
    slow = run(
        emulate,
        *li(8, SYSTICK),
        i_type(1, 0, 0, 9),
        s_type(0, 9, 8, 2),
        *[NOP] * 9,
        i_type(8, 8, 2, 11, 3),
        WFI,
    )
    assert slow["x"][11] in (1, 2)


def test_self_modifying_code_runs_as_it_was_written(emulate):
    """Stores `addi s1, x0, 7` over the next instruction but one."""
    new = i_type(7, 0, 0, 9)
    code = (*li(9, new), s_type(16, 9, 8, 2), NOP, i_type(1, 0, 0, 9), WFI)
    assert run(emulate, *code, x={8: PC})["x"][9] == 7


RULES = {  # the table of docs/emulator.md, as the emulator prints it
    "arithmetic_16bit": (C_NOP,),
    "arithmetic_32bit": (ADDI,),
    "multiplication": (MUL,),
    "load_sram": (LW,),
    "store": (SW,),
    "taken_aligned": (C_J4, C_NOP),
}


def test_the_printed_rules_are_those_of_the_execution(emulate, tmp_path):
    sources = sorted((ROOT / "mcu" / "emulator").glob("*.c"))
    subprocess.run(["cc", "-O1", "-o", tmp_path / "emulator", *sources], check=True)
    done = subprocess.run([tmp_path / "emulator", "--rules"], capture_output=True, text=True)
    places = json.loads(done.stdout)
    assert len(places) == 6
    for place, rules in places.items():
        memory, waits = place.split(", ")
        options = {"wait_states": int(waits[0]), "has_mul": True, "x": {8: SRAM + 0x100}}
        options |= {"pc": 0x100} if memory == "flash" else {}
        for name, code in RULES.items():
            assert cycles(emulate, *code, **options) == rules[name], (place, name)
        # c.nop, c.j from an unaligned place, to an unaligned instruction of either size, c.nop
        for bits, target in ((16, C_NOP), (32, ADDI)):
            spent = cycles(emulate, C_NOP, C_J4, C_NOP, target, C_NOP, **options)
            own = 2 * rules["arithmetic_16bit"] + rules[f"arithmetic_{bits}bit"]
            jump = rules["taken_unaligned"] + rules[f"target_{bits}bit_unaligned"]
            assert spent == own + jump, (place, bits)
        options["x"] = {8: 0x200}
        assert cycles(emulate, LW, **options) == rules["load_flash"], place


def test_the_published_table_of_cycles_is_what_the_emulators_rules_give():
    """A rule that is changed in cpu.c changes the table of docs/emulator.md."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import cycle_model

    places = cycle_model.rules()
    table = cycle_model.table(places)
    csv = (ROOT / "docs" / "cycle-model.csv").read_text()
    assert csv == cli.csv_text(table)
    places["sram, 1 wait states"]["taken_aligned"] += 1
    assert cycle_model.table(places)[0]["least"] == table[0]["least"] + 87_133


def test_classes_add_up(emulate):
    outcome = run(emulate, ADDI, LW, SW, NOT_TAKEN, TAKEN, ADDI, WFI, x={8: SRAM + 0x100})
    counts = dict(zip(CLASSES, outcome["count"].tolist()))
    assert counts == {
        "alu": 1,
        "mul": 0,
        "load_sram": 1,
        "load_flash": 0,
        "load_io": 0,
        "store": 1,
        "taken": 1,
        "not_taken": 1,
    }
    assert outcome["instructions"] == sum(counts.values()) + 1  # and the WFI
