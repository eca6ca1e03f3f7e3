"""Train the network of learned phase retrieval on simulated crystals.

    python benchmarks/truth/train_learned.py --bfloat16 --folder training \
        --weights training/bragg.npz

Every step draws new crystals of `batteryxr.simulate.random_crystals`, so none is seen
twice, and the same seed draws the same ones. A checkpoint is kept in the folder: killed
and started again, it goes on from there. The weights that are written are the running
mean over the last steps; `retrieve_learned(network=Network(weights=...))` takes them.
Needs PyTorch; one thread of a CPU takes about 35 ms a crystal with ``--bfloat16``,
where the processor computes with it.

The weights that come with batteryxr were trained so on one thread of a CPU, without a
GPU: 24,800 crystals in 15 CPU minutes, ``--steps 3000`` for the first 1300 steps, then
``--steps 1900`` to 1500 and ``--steps 1700`` to 1550, which lets the rate fall earlier.
Longer training on larger crystals is what a GPU would be for.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from batteryxr.cdi.bragg.learned.kernels import network
from batteryxr.cdi.bragg.learned.kernels.network_input import SIZE, standard
from batteryxr.cdi.bragg.learned.network_weights import write_weights
from batteryxr.simulate.bodies import crystal
from batteryxr.simulate.diffraction import pattern

#: Raised whenever what is drawn or learned changes.
VERSION = 1
FILL = (0.45, 0.85)
PHASE = (0.0, 4.0)
PHOTONS = (1e5, 1e8)
#: Of the running mean, per step.
MEMORY = 0.995


def draw(seed: int, step: int, n: int) -> tuple[Any, Any]:
    """Return moduli and labels of `n` crystals; held-out ones are step -1."""
    moduli, labels = [], []
    for k in range(n):
        rng = np.random.default_rng([seed, step + 1, k])
        obj = standard(crystal(rng, SIZE, fill=FILL, phase=PHASE))
        photons = PHOTONS[0] * (PHOTONS[1] / PHOTONS[0]) ** rng.random()
        counts = pattern(obj, photons, rng)
        moduli.append(np.sqrt(counts / counts.mean()))
        labels.append(obj)
    return torch.from_numpy(np.stack(moduli)), torch.from_numpy(np.stack(labels))


def held_out(weights: dict[str, Any], moduli: Any, labels: Any) -> dict[str, float]:
    """Judge weights on crystals that are never learned."""
    found = []
    with torch.no_grad():
        for part in range(0, len(moduli), 16):
            some = slice(part, part + 16)
            loss = network.training_loss(weights, moduli[some], labels[some])
            obj = network.as_object(*network.guess(weights, moduli[some]))
            twin = torch.roll(torch.flip(obj, (1, 2, 3)), (1, 1, 1), (1, 2, 3)).conj()
            agreement = torch.maximum(
                network.overlap(obj, labels[some]), network.overlap(twin, labels[some])
            )
            misfit = network.misfit(obj, moduli[some])
            found.append(torch.stack([loss, misfit, agreement]))
    means = torch.cat(found, 1).mean(1).tolist()
    return dict(zip(("held_out_loss", "misfit", "overlap"), means, strict=True))


def rate(step: int, steps: int, highest: float) -> float:
    """Rise over 100 steps, then fall along a cosine."""
    fallen = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return highest * min(1.0, (step + 1) / 100) * max(fallen, 0.01)


def train(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    weights = network.new_weights(arguments.seed)
    mean = {name: w.clone() for name, w in weights.items()}
    for w in weights.values():
        w.requires_grad_()
    adam = torch.optim.Adam(weights.values(), lr=arguments.rate, betas=(0.9, 0.98))
    first, spent = 0, 0.0
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        with torch.no_grad():
            for name, w in weights.items():
                w.copy_(kept["weights"][name])
        mean, first, spent = kept["mean"], kept["step"], kept["spent"]
        adam.load_state_dict(kept["adam"])
        print(f"going on from step {first}", flush=True)
    exam = draw(arguments.seed, -1, arguments.held_out)
    began, running = time.process_time() - spent, math.nan
    for step in range(first, arguments.steps):
        moduli, labels = draw(arguments.seed, step, arguments.batch)
        adam.param_groups[0]["lr"] = rate(step, arguments.steps, arguments.rate)
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bfloat16):
            loss = network.training_loss(weights, moduli, labels).mean()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        adam.step()
        memory = min(MEMORY, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, w in weights.items():
                mean[name].mul_(memory).add_(w, alpha=1 - memory)
        last = float(loss.detach())
        running = last if math.isnan(running) else 0.98 * running + 0.02 * last
        done = step + 1
        if done % arguments.every and done != arguments.steps:
            continue
        judged = held_out(mean, *exam)
        spent = time.process_time() - began
        words = ", ".join(f"{k} {v:.4f}" for k, v in judged.items())
        print(
            f"step {done}: training loss {running:.4f}, {words}, {spent:.0f} CPU s",
            flush=True,
        )
        state = {"weights": {k: w.detach() for k, w in weights.items()}, "mean": mean}
        state |= {"adam": adam.state_dict(), "step": done, "spent": spent}
        torch.save(state, folder / "checkpoint.part")
        (folder / "checkpoint.part").replace(checkpoint)
        about = {
            "script": f"benchmarks/truth/train_learned.py, version {VERSION}",
            "seed": arguments.seed,
            "steps": done,
            "crystals": done * arguments.batch,
            "cpu_seconds": round(spent),
            "trained_on": "CPU",
            "torch": torch.__version__,
            "training_loss": round(running, 4),
        } | {k: round(v, 4) for k, v in judged.items()}
        arrays = {name: w.numpy() for name, w in mean.items()}
        write_weights(arguments.weights, arrays, about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest, of Adam")
    parser.add_argument("--held-out", type=int, default=64, help="crystals")
    parser.add_argument("--every", type=int, default=100, help="steps to a checkpoint")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--folder", default="training", help="of the checkpoint")
    parser.add_argument("--weights", default="training/bragg.npz")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
