"""Several workers of one training, on Ray Train: each computes a share of every step, and all learn from the sum."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from ray import train
from ray.train.torch import TorchConfig, TorchTrainer
from torch import distributed

from ndvr.operators.errors import RunStopped
from ndvr.pipeline.cluster import cluster
from ndvr.pipeline.cluster.workers import work_in
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.training.loop import Loop, device_of
from ndvr.pipeline.training.plan import Order, make_plan
from ndvr.pipeline.training.run_folder import RunFolder

TRIES = 3  # workers that are lost are started again, from the last checkpoint
_LOOK_S = 0.5


class Gloo:
    """The workers of this Ray Train run; sums do not depend on who is first, as long as there are two."""

    def __init__(self) -> None:
        self.number, self.size = distributed.get_rank(), distributed.get_world_size()

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        flat = torch.cat([tensor.flatten() for tensor in tensors]).cpu()  # Gloo's sums are made on the host
        distributed.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
            tensor.copy_(part.view_as(tensor))

    def in_order(self, tensor: torch.Tensor) -> torch.Tensor:
        own = tensor.cpu().contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(parts, own)
        return torch.cat(parts).to(tensor.device)

    def same(self, value: float) -> float:
        sent = torch.tensor(value, dtype=torch.float64)
        distributed.broadcast(sent, 0)
        return sent.item()


def run_on_ray(order: Order, folder: RunFolder, *, workers: int, address: str | None, bar: Progress) -> None:
    """Do the steps that are left on `workers` workers. RunStopped when they are lost again and again."""
    resources = cluster.join(address)
    gpus = 0.0 if order.device == "cpu" else cluster.gpu_share(workers, resources.gpus)
    if order.device == "cuda" and not gpus:
        raise ValueError("device=cuda: the cluster has no GPU; choose auto or cpu")
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="ndvr-train-") as scratch, _following(folder, bar):
        trainer = TorchTrainer(
            _work,
            train_loop_config={"order": asdict(order), "out": folder.store, "here": os.getcwd()},
            scaling_config=train.ScalingConfig(
                num_workers=workers,
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": 1, "GPU": gpus} if gpus else None,  # or several share one
            ),
            torch_config=TorchConfig(backend="gloo"),
            run_config=train.RunConfig(
                name="train", storage_path=scratch, failure_config=train.FailureConfig(max_failures=TRIES)
            ),
        )
        try:
            trainer.fit()
        except train.TrainingFailedError as error:
            _raise(error)


def _work(job: dict[str, Any]) -> None:
    """Do what every worker does: the same plan, its share of the batches."""
    work_in(job["here"])
    order = Order(**job["order"])
    plan = make_plan(order)
    folder = RunFolder(job["out"], plan.description)
    loop = Loop(order, plan, folder, team=Gloo(), device=device_of(order.device))
    folder.check_free(resume=True)
    loop.load(folder.checkpoint())
    loop.run()


def _raise(error: train.TrainingFailedError) -> None:
    """Raise what a worker said of the training itself, or RunStopped for what became of the workers."""
    failures = getattr(error, "worker_failures", {})
    for failure in failures.values():
        cause = getattr(failure, "cause", failure)
        if isinstance(cause, ValueError):
            raise ValueError(str(cause)) from None
    what = "; ".join(sorted({str(failure).strip().splitlines()[-1] for failure in failures.values()})) or str(error)
    raise RunStopped(f"the workers stopped: {what}; --resume goes on from the last checkpoint") from error


@contextlib.contextmanager
def _following(folder: RunFolder, bar: Progress) -> Iterator[None]:
    """Show how far the workers are: the step of the learning curve's last point."""
    over = threading.Event()

    def follow() -> None:
        while not over.wait(_LOOK_S):
            if points := folder.curve():
                bar.follow(points[-1].step, bar.total, "")

    thread = threading.Thread(target=follow, name="training", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
