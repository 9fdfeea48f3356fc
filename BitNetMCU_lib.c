/* The shared library Bitnet_inf: the exported network for test_inference.py, with the value of
 * every layer recorded. */

#include <stdint.h>

static uint8_t *recorder; /* where the next recorded byte goes */

static void record(const void *data, uint32_t bytes) {
    const uint8_t *next = data;

    for (; bytes > 0; bytes--)
        *recorder++ = *next++;
}
#define BITNETMCU_TRACE(step, data, bytes) record(data, bytes)

#define BITNETMCU_MODEL_IMPLEMENTATION
#include "BitNetMCU_model.h"

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

EXPORT const char *Bitnet_inf_checkpoint(void);
EXPORT void Bitnet_inf(const int8_t *inputs, uint32_t images, uint32_t *predictions,
                       uint8_t *trace);

#if defined(BITNETMCU_EVERY) && defined(BITNETMCU_CHANNELS)
EXPORT void Bitnet_inf_push(const int32_t *raw, uint32_t readings, int32_t *classes,
                            int32_t *logits, uint8_t *trace);

/* Takes `readings` of BITNETMCU_CHANNELS raw values, from the beginning of a stream on, and writes
 * a class, or -1, and logits for each. `trace` has room for what is traced meanwhile. */
void Bitnet_inf_push(const int32_t *raw, uint32_t readings, int32_t *classes, int32_t *logits,
                     uint8_t *trace) {
    BitNetMCU_reset();
    recorder = trace;
    for (; readings > 0; readings--) {
        *classes++ = BitNetMCU_push(raw, logits);
        raw += BITNETMCU_CHANNELS;
        logits += BITNETMCU_CLASSES;
    }
}
#endif

#ifdef BITNETMCU_CHANNELS
EXPORT void Bitnet_inf_quantise(const int32_t *raw, uint32_t samples, int8_t *inputs);

/* Brings `samples` of BITNETMCU_INPUTS raw values to inputs. */
void Bitnet_inf_quantise(const int32_t *raw, uint32_t samples, int8_t *inputs) {
    for (; samples > 0; samples--) {
        BitNetMCU_quantise(raw, inputs);
        raw += BITNETMCU_INPUTS;
        inputs += BITNETMCU_INPUTS;
    }
}
#endif

/* The SHA-256 of the checkpoint that was exported. */
const char *Bitnet_inf_checkpoint(void) { return BITNETMCU_CHECKPOINT_SHA256; }

/* Runs `images` inputs of BITNETMCU_INPUTS values; those of a stream begin anew. `trace` takes
 * BITNETMCU_TRACE_BYTES for each, what its steps wrote. Not reentrant. */
void Bitnet_inf(const int8_t *inputs, uint32_t images, uint32_t *predictions, uint8_t *trace) {
    int32_t logits[BITNETMCU_CLASSES];

#ifdef BITNETMCU_EVERY
    BitNetMCU_reset();
#endif
    recorder = trace;
    for (; images > 0; images--) {
        *predictions++ = BitNetMCU_infer(inputs, logits);
        inputs += BITNETMCU_INPUTS;
    }
}
