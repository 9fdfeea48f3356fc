/* Field offsets: Tool Interface Standard, ELF Specification 1.2. Every offset is checked against
 * the file's size, so that a damaged file is refused and not followed. */

#include "elf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EM_RISCV 243
#define PT_LOAD 1
#define SHT_SYMTAB 2
#define SYMBOL_SIZE 16u

static uint32_t word(const Elf *elf, uint32_t at) {
    const uint8_t *p = elf->bytes + at;

    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t half(const Elf *elf, uint32_t at) {
    return elf->bytes[at] | (uint32_t)elf->bytes[at + 1] << 8;
}

/* Whether `count` items of `size` bytes at file offset `at` lie in the file. */
static bool inside(const Elf *elf, uint32_t at, uint32_t count, uint32_t size) {
    return (uint64_t)at + (uint64_t)count * size <= elf->size;
}

static const char *read_file(Elf *elf, const char *path) {
    FILE *file = fopen(path, "rb");
    long size;

    if (file == NULL)
        return "cannot be opened";
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    if (size < 52 || size > 0x4000000 || (elf->bytes = malloc((size_t)size)) == NULL) {
        fclose(file);
        return "is not an ELF file";
    }
    elf->size = (uint32_t)size;
    size = (long)fread(elf->bytes, 1, elf->size, file);
    fclose(file);
    return (uint32_t)size == elf->size ? NULL : "cannot be read";
}

const char *elf_open(Elf *elf, const char *path) {
    static const uint8_t ident[] = {0x7f, 'E', 'L', 'F', 1, 1};
    uint32_t sections, count, entry, i;
    const char *error;

    memset(elf, 0, sizeof *elf);
    if ((error = read_file(elf, path)) != NULL)
        return error;
    if (memcmp(elf->bytes, ident, sizeof ident) != 0 || half(elf, 18) != EM_RISCV)
        return "is not a 32-bit little-endian RISC-V ELF file";
    sections = word(elf, 32);
    entry = half(elf, 46);
    count = half(elf, 48);
    if (entry < 40 || !inside(elf, sections, count, entry))
        return "is damaged: its sections lie outside it";
    for (i = 0; i < count; i++) {
        uint32_t section = sections + i * entry, strings;

        if (word(elf, section + 4) != SHT_SYMTAB || word(elf, section + 24) >= count)
            continue;
        strings = sections + word(elf, section + 24) * entry;
        elf->symbols = word(elf, section + 16);
        elf->symbol_count = word(elf, section + 20) / SYMBOL_SIZE;
        elf->names = word(elf, strings + 16);
        elf->names_size = word(elf, strings + 20);
        if (!inside(elf, elf->symbols, elf->symbol_count, SYMBOL_SIZE) ||
            !inside(elf, elf->names, elf->names_size, 1) || elf->names_size == 0 ||
            elf->bytes[elf->names + elf->names_size - 1] != '\0')
            return "is damaged: its symbols lie outside it";
    }
    return NULL;
}

void elf_close(Elf *elf) {
    free(elf->bytes);
    elf->bytes = NULL;
}

const char *elf_load(const Elf *elf, Machine *m) {
    uint32_t headers = word(elf, 28), entry = half(elf, 42), count = half(elf, 44), i;

    if (entry < 32 || !inside(elf, headers, count, entry))
        return "is damaged: its segments lie outside it";
    for (i = 0; i < count; i++) {
        uint32_t header = headers + i * entry;
        uint32_t offset = word(elf, header + 4), size = word(elf, header + 16);

        if (word(elf, header) != PT_LOAD)
            continue;
        if (!inside(elf, offset, size, 1))
            return "is damaged: a segment lies outside it";
        if (size > 0 && word(elf, header + 12) - SRAM_BASE < SRAM_MAX)
            return "has a segment in SRAM, which nothing would put there on the chip";
        if (!machine_write(m, word(elf, header + 12), elf->bytes + offset, size))
            return "does not fit into the memory of this target";
    }
    return NULL;
}

static const char *symbol_name(const Elf *elf, uint32_t index) {
    uint32_t name = word(elf, elf->symbols + index * SYMBOL_SIZE);

    return name < elf->names_size ? (const char *)elf->bytes + elf->names + name : "";
}

bool elf_symbol(const Elf *elf, const char *name, Symbol *symbol) {
    uint32_t i;

    for (i = 0; i < elf->symbol_count; i++)
        if (strcmp(symbol_name(elf, i), name) == 0) {
            symbol->address = word(elf, elf->symbols + i * SYMBOL_SIZE + 4);
            symbol->size = word(elf, elf->symbols + i * SYMBOL_SIZE + 8);
            return true;
        }
    return false;
}

const char *elf_locate(const Elf *elf, uint32_t address, uint32_t *offset) {
    const char *best = "?";
    uint32_t i;

    *offset = 0xffffffff;
    for (i = 0; i < elf->symbol_count; i++) {
        uint32_t symbol = elf->symbols + i * SYMBOL_SIZE;
        uint32_t value = word(elf, symbol + 4), type = elf->bytes[symbol + 12] & 15;
        const char *name = symbol_name(elf, i);

        /* functions and labels; names with '$' or '.' are the assembler's own */
        if ((type == 2 || type == 0) && half(elf, symbol + 14) != 0 &&
            strpbrk(name, "$.") == NULL && name[0] != '\0' && value <= address &&
            address - value < *offset) {
            *offset = address - value;
            best = name;
        }
    }
    return best;
}
