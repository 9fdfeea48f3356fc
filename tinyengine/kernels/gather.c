/* TRANSPOSE, STRIDED_SLICE, RESIZE_NEAREST_NEIGHBOR and others: copies from any places. */
#include "copy.h"
#include "tinyengine.h"

/* Where the element with this index along an axis is. */
static inline int32_t place(const te_gathered_axis *axis, int32_t index) {
    return (axis->places ? axis->places[index] : index) * axis->stride;
}

/* All elements of an axis; returns where the next one goes. */
static inline int8_t *gather_row(const te_gathered_axis *axis, const int8_t *input,
                                 int8_t *output) {
    int32_t size = axis->size, stride = axis->stride, i = 0;

    if (axis->places) {
        for (; i < size; i++)
            output[i] = input[axis->places[i] * stride];
    } else if (stride == 1) {
        te_copy(output, input, size);
    } else {
        for (; i < size - 3; i += 4, input += 4 * stride) {
            int8_t first = input[0], second = input[stride];
            int8_t third = input[2 * stride], fourth = input[3 * stride];
            output[i] = first, output[i + 1] = second;
            output[i + 2] = third, output[i + 3] = fourth;
        }
        for (; i < size; i++, input += stride)
            output[i] = *input;
    }
    return output + size;
}

void te_run_gather(const te_gather *op, const int8_t *input, int8_t *output, void *scratch) {
    const te_gathered_axis *a = &op->axes[0], *b = a + 1, *c = b + 1;
    const te_gathered_axis d = c[1], last = c[2]; /* as far as C knows, output could be op */
    (void)scratch;
    for (int32_t i = 0; i < a->size; i++) {
        const int8_t *from_a = input + place(a, i);
        for (int32_t j = 0; j < b->size; j++) {
            const int8_t *from_b = from_a + place(b, j);
            for (int32_t k = 0; k < c->size; k++) {
                const int8_t *from_c = from_b + place(c, k);
                for (int32_t l = 0; l < d.size; l++)
                    output = gather_row(&last, from_c + place(&d, l), output);
            }
        }
    }
}
