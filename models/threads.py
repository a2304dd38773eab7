"""How many cores torch may use."""

import torch


def use_one_thread() -> None:
    """Keep what this thread computes to one core.

    Products that threads share are summed in an order that depends on their number.
    """
    torch.set_num_threads(1)
