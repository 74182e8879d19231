"""The engine: tensors, operations, the tape, and the walk back along it."""
