/* The shared library Bitnet_inf: the exported network for test_inference.py, with the value of
 * every layer recorded. */

#include <stdint.h>

static int32_t *recorder; /* where the next recorded value goes */

static void record(const int32_t *accumulators, uint32_t count, uint32_t shift) {
    for (; count > 0; count--)
        *recorder++ = *accumulators++;
    *recorder++ = (int32_t)shift;
}
#define BITNETMCU_TRACE(layer, accumulators, count, shift) record(accumulators, count, shift)

#define BITNETMCU_MODEL_IMPLEMENTATION
#include "BitNetMCU_model.h"

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

EXPORT const char *Bitnet_inf_checkpoint(void);
EXPORT void Bitnet_inf(const int8_t *inputs, uint32_t images, uint32_t *predictions,
                       int32_t *trace);

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

/* Runs `images` inputs of BITNETMCU_INPUTS values. `trace` takes, per image and layer, the
 * accumulators and then the shift. Not reentrant. */
void Bitnet_inf(const int8_t *inputs, uint32_t images, uint32_t *predictions, int32_t *trace) {
    int32_t logits[BITNETMCU_CLASSES];

    recorder = trace;
    for (; images > 0; images--) {
        *predictions++ = BitNetMCU_infer(inputs, logits);
        inputs += BITNETMCU_INPUTS;
    }
}
