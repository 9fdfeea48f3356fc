/* What a Cortex-M4 takes for what Unicorn executes, and for its flash: the rules stand in
 * cortex_m4.py. Unicorn calls entered() at each basic block, accessed() at each load and store. */

#include <stdint.h>

enum { LINE = 16, INSTRUCTION_LINES = 64, DATA_LINES = 8, SRAM = 0x20000000, WRITE = 17 };

typedef struct {
    uint64_t instructions, cycles;
    uint64_t stalls; /* cycles that wait for flash, beside the others */
} cost;

/* The lines that were used last, the last of them in front; -1: none. */
typedef struct {
    int64_t lines[INSTRUCTION_LINES];
} cache;

/* Sums are those of all instructions in front of a halfword of code, each as if it were reached
 * from the one in front of it; branched: what an instruction takes more where a branch leads to it;
 * jumped: whether the one in front of it always branches. */
typedef struct {
    const uint32_t *instructions, *cycles;
    const int8_t *branched, *jumped;
    uint32_t refill, wait_states;
    uint32_t mark;                 /* a function that ends a cost; it does not count itself */
    uint32_t marked, number, most; /* marked: what is executed next was no branch of what counts */
    cost *costs;                   /* [most] */
    uint32_t end;   /* of the last block: what begins there is reached without a branch */
    uint32_t begun; /* cycles since the current line of code was begun */
    cache fetched, loaded;
} state;

void entered(void *engine, uint64_t address, uint32_t size, void *data);
void accessed(void *engine, int type, uint64_t address, int size, int64_t value, void *data);

/* Whether the line is there; it is then in front. `lines`: how many there can be. */
static int found(cache *known, int64_t line, int lines) {
    int at = 0;

    while (at < lines - 1 && known->lines[at] != line)
        at++;
    int hit = known->lines[at] == line;
    for (; at > 0; at--)
        known->lines[at] = known->lines[at - 1];
    known->lines[0] = line;
    return hit;
}

/* Cycles that a block waits for its lines. The one behind a line is asked for when that is begun,
 * what a branch leads to when it is taken; lines that were waited for are kept. */
static uint32_t fetch(state *s, uint32_t first, uint32_t end, int branch) {
    uint32_t waited = 0;

    for (uint32_t at = first; at < end;) {
        uint32_t line = at / LINE, next = (line + 1) * LINE, stop = next < end ? next : end;

        if (branch || at % LINE == 0) {
            uint32_t wait = s->wait_states;

            if (branch)
                wait = line == (s->end - 2) / LINE ? 0 : wait;
            else
                wait -= s->begun > wait ? wait : s->begun - (s->begun != 0);
            if (wait && !found(&s->fetched, line, INSTRUCTION_LINES))
                waited += wait;
            s->begun = 0;
            branch = 0;
        }
        s->begun += s->cycles[stop / 2] - s->cycles[at / 2];
        at = stop;
    }
    return waited;
}

void entered(void *engine, uint64_t address, uint32_t size, void *data) {
    state *s = data;
    uint32_t first = (uint32_t)address, end = first + size;
    int branch = (first != s->end || s->jumped[first / 2]) && !s->marked;

    (void)engine;
    if (first == s->mark) {
        s->marked = 1;
        s->number += s->number + 1 < s->most;
        return;
    }
    s->marked = 0; /* the way back from there does not count */
    cost *c = s->costs + s->number;
    c->instructions += s->instructions[end / 2] - s->instructions[first / 2];
    c->cycles += s->cycles[end / 2] - s->cycles[first / 2];
    if (branch)
        c->cycles += (uint64_t)(s->refill + s->branched[first / 2]);
    if (s->wait_states)
        c->stalls += fetch(s, first, end, branch);
    s->end = end;
}

void accessed(void *engine, int type, uint64_t address, int size, int64_t value, void *data) {
    state *s = data;
    cost *c = s->costs + s->number;
    uint32_t at = (uint32_t)address;

    (void)engine;
    (void)value;
    if (size == 4 && at % 4 != 0)
        c->cycles += at % 2 ? 2 : 1;
    if (size == 2 && at % 2 != 0)
        c->cycles += 1;
    if (s->wait_states && at < SRAM && type != WRITE && !found(&s->loaded, at / LINE, DATA_LINES))
        c->stalls += s->wait_states;
}
