"""Joining tensors and taking them apart."""

from minigrad.engine.operation import op

__all__ = ["cat", "stack", "split", "unbind"]


@op
def cat(xp, *tensors, dim):
    return xp.concatenate(tensors, axis=dim)


def _part(shapes, i, dim):
    start = sum(s[dim] for s in shapes[:i])
    return (slice(None),) * dim + (slice(start, start + shapes[i][dim]),)


cat.defvjp(lambda ops, g, i, tensors_shape, dim: ops.getitem(g, index=_part(tensors_shape, i, dim)))


@op
def stack(xp, *tensors, dim):
    return xp.stack(tensors, axis=dim)


stack.defvjp(lambda ops, g, i, dim: ops.getitem(g, index=(slice(None),) * dim + (i,)))


@op
def split(xp, a, *, sizes, dim):
    parts, start = [], 0
    for n in sizes:
        parts.append(a[(slice(None),) * dim + (slice(start, start + n),)])
        start += n
    return tuple(parts)


split.defvjp(lambda ops, g, dim: ops.cat(*g, dim=dim))


@op
def unbind(xp, a, *, dim):
    return tuple(a[(slice(None),) * dim + (i,)] for i in range(a.shape[dim]))


unbind.defvjp(lambda ops, g, dim: ops.stack(*g, dim=dim))
