/* CONCATENATION, SPLIT and others: rows of contiguous bytes. */
#include "copy.h"
#include "tinyengine.h"

void te_run_copy_rows(const te_copy_rows *op, const int8_t *input, int8_t *output, void *scratch) {
    const te_copy_rows copied = *op; /* as far as C knows, output could be op */
    (void)scratch;
    for (int32_t row = 0; row < copied.rows; row++)
        te_copy(output + row * copied.output_stride, input + row * copied.input_stride,
                copied.bytes);
}
