/* Reads what the emulator needs of a 32-bit little-endian RISC-V ELF file. */
#ifndef ELF_H
#define ELF_H

#include "machine.h"

typedef struct {
    uint8_t *bytes;
    uint32_t size;
    uint32_t symbols, symbol_count; /* file offset of the symbol table, and its entries */
    uint32_t names, names_size;     /* file offset of the names, and their bytes */
} Elf;

typedef struct {
    uint32_t address, size;
} Symbol;

/* Opens the file at `path`; returns NULL, or what is wrong with it. */
const char *elf_open(Elf *elf, const char *path);
void elf_close(Elf *elf);

/* Puts all that the file holds into the machine, at the addresses where it is flashed. Returns
 * NULL, or what is wrong. */
const char *elf_load(const Elf *elf, Machine *m);

/* Looks up a symbol; false if there is none of that name. */
bool elf_symbol(const Elf *elf, const char *name, Symbol *symbol);

/* The name of the function or label that `address` lies in or behind, and how far behind; "?" if
 * there is none. */
const char *elf_locate(const Elf *elf, uint32_t address, uint32_t *offset);

#endif
