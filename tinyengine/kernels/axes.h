/* Walks over tensors of any strides. */
#ifndef TINYENGINE_AXES_H
#define TINYENGINE_AXES_H

#include "tinyengine.h"

/* How many elements TE_RANK axes have. */
static inline int32_t te_count(const te_axis *axes) {
    int32_t count = 1;
    for (int axis = 0; axis < TE_RANK; axis++)
        count *= axes[axis].size;
    return count;
}

/* From the element at `offset` to the next one, the last axis the fastest; returns its offset and
 * advances `index`, which starts as zeros. After the last element comes the first one. */
static inline int32_t te_next(const te_axis *axes, int32_t *index, int32_t offset) {
    for (int axis = TE_RANK - 1; axis >= 0; axis--) {
        offset += axes[axis].stride;
        if (++index[axis] < axes[axis].size)
            break;
        offset -= axes[axis].size * axes[axis].stride;
        index[axis] = 0;
    }
    return offset;
}

#endif
