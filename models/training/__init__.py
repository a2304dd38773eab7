"""Published training losses, and the batches they are computed on."""
