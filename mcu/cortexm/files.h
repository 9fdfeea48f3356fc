/* Files of the computer, through semihosting. */
#ifndef FILES_H
#define FILES_H

#include "cortexm/semihosting.h"

/* mode: 1 "rb", 5 "wb". length: of the name. Returns a handle. */
static inline uint32_t open_file(const char *name, uint32_t mode, uint32_t length) {
    uintptr_t arguments[3];

    arguments[0] = (uintptr_t)name;
    arguments[1] = mode;
    arguments[2] = length;
    return semihosting(SYS_OPEN, (uintptr_t)arguments);
}

/* Reads or writes `bytes`; returns how many were not. */
static inline uint32_t transfer(uint32_t request, uint32_t file, const void *data, uint32_t bytes) {
    uintptr_t arguments[3];

    arguments[0] = file;
    arguments[1] = (uintptr_t)data;
    arguments[2] = bytes;
    return semihosting(request, (uintptr_t)arguments);
}

#endif
