"""What every pretraining stage shares: a clock, a log, an average of the weights, checkpoints without pickle."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..engine.bases import choose_dtype
from ..errors import UsageError
from ..outputs import whole


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bf16 where the device computes with it; float32 sums stay float32. Others emulate it, and take many times as long as in float32."""
    fast = choose_dtype("auto", str(device)) == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


class Average:
    """Exponential moving average of a module's floating-point weights; early on the window is short."""

    def __init__(self, module: nn.Module, decay: float = 0.998) -> None:
        self.module, self.decay, self.updates = module, decay, 0
        self.shadow = {k: v.detach().clone() for k, v in module.state_dict().items() if v.is_floating_point()}

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        state = self.module.state_dict()
        names = list(self.shadow)
        torch._foreach_lerp_([self.shadow[k] for k in names], [state[k] for k in names], 1 - decay)

    def state(self) -> dict[str, Tensor]:
        return self.shadow


class Stretch:
    """One resumable stretch of a stage: modules by name, their averages, one optimiser, a step count and a log."""

    def __init__(
        self,
        folder: Path,
        stage: str,
        modules: dict[str, nn.Module],
        groups: Iterable[dict[str, Any]],
        *,
        minutes: float,
        decay: float = 0.998,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.stage, self.modules = folder, stage, modules
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
        self.averages = {k: Average(m, decay) for k, m in modules.items()}
        self.step, self.seconds = 0, 0.0
        self.limit = minutes * 60
        self._path = folder / f"{stage}.state.safetensors"
        self._load()
        self.started = self._saved = self._logged = time.monotonic()
        self._losses: dict[str, list[Tensor]] = {}

    @property
    def elapsed(self) -> float:
        """Seconds of this stretch."""
        return time.monotonic() - self.started

    def __enter__(self) -> Stretch:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """At the end, and when interrupted, what is learned is kept."""
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self._log_losses()
            self.save()

    def restart_clock(self) -> None:
        """Start counting only now, after material has been drawn."""
        self.started = self._saved = self._logged = time.monotonic()

    def running(self) -> bool:
        return self.elapsed < self.limit

    def progress(self) -> float:
        """Share of this stretch's time that has gone, for learning-rate schedules."""
        return min(1.0, self.elapsed / self.limit)

    def update(self, losses: dict[str, Tensor], *, lr_scale: float = 1.0, clip: float = 1.0) -> None:
        """Backward of the summed losses, one optimiser step, averages, and the log every 20 seconds."""
        torch.stack(list(losses.values())).sum().backward()
        parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        nn.utils.clip_grad_norm_(parameters, clip)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * lr_scale
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for average in self.averages.values():
            average.update()
        self.step += 1
        for name, loss in losses.items():
            self._losses.setdefault(name, []).append(loss.detach())
        now = time.monotonic()
        if now - self._logged > 20:
            self._log_losses()
        if now - self._saved > 240:
            self.save()

    def _log_losses(self) -> None:
        """Means since the last time."""
        if self._losses:
            self.log({k: float(torch.stack(v).mean()) for k, v in self._losses.items()})
        self._losses, self._logged = {}, time.monotonic()

    def log(self, values: dict[str, float]) -> None:
        line = {
            "stage": self.stage,
            "step": self.step,
            "seconds": round(self.seconds + self.elapsed, 1),
            **values,
        }
        text = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in line.items()})
        with (self.folder / "log.jsonl").open("a") as f:
            f.write(text + "\n")
        print(text, flush=True)

    def save(self) -> None:
        tensors: dict[str, Tensor] = {}
        for name, module in self.modules.items():
            tensors |= {f"model/{name}/{k}": v for k, v in module.state_dict().items()}
            tensors |= {f"average/{name}/{k}": v for k, v in self.averages[name].state().items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{i}/{k}": v for k, v in state.items()}
        meta = {"step": str(self.step), "seconds": str(self.seconds + self.elapsed)}
        with whole(self._path) as (part,):
            part.write_bytes(
                save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, meta)
            )
        self._saved = time.monotonic()

    def _load(self) -> None:
        if not self._path.exists():
            return
        from safetensors import safe_open

        tensors = load_file(self._path)
        with safe_open(self._path, "pt") as f:
            meta = f.metadata()
        held = {key.split("/")[1] for key in tensors if key.startswith("model/")}
        if held != self.modules.keys():
            others = ", ".join(sorted(held ^ self.modules.keys()))
            raise UsageError(
                f"'{self._path}' is of another version: it differs in {others}.",
                "Move it away: the stage then begins anew, from the model beside it where it can.",
            )
        self.step, self.seconds = int(meta["step"]), float(meta["seconds"])
        for name, module in self.modules.items():
            prefix = f"model/{name}/"
            module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
            for k, v in self.averages[name].state().items():
                v.copy_(tensors[f"average/{name}/{k}"])
            self.averages[name].updates = self.step
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer/"):
                _, i, k = key.split("/", 2)
                states.setdefault(int(i), {})[k] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})

    def adopt_averages(self) -> None:
        """Copy the averaged weights into the modules, for evaluation and for shipping."""
        for name, module in self.modules.items():
            module.load_state_dict(module.state_dict() | self.averages[name].state())


def ramp(progress: float, step: int, warm: int = 60, hold: float = 0.55) -> float:
    """Warm-up, plateau, linear decay to 2%."""
    fall = 1.0 if progress < hold else 0.02 + 0.98 * (1 - progress) / (1 - hold)
    return min(1.0, (step + 1) / warm) * fall


def group(module: torch.nn.Module, lr: float) -> dict[str, Any]:
    return {"params": [p for p in module.parameters() if p.requires_grad], "lr": lr, "base_lr": lr}
