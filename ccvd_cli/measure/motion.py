"""How things move in a clip: paths of points, followed by optical flow, and what two clips' paths have in common.

A frozen picture is perfectly consistent, so how much moves is measured beside how well it keeps together; and a motion that was learned
from clips is held against them, path by path (Motion Fidelity, arXiv 2311.17009; points are followed by DIS flow, arXiv 1603.03590, in place of
a learned tracker). Clips are (F, 3, H, W) in [0, 1]. Paths are (points, F, 2), x and y in fractions of the frame.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from torch import Tensor

Array = npt.NDArray[np.float32]

GRID = 16  # points to a side
FLOW_SIZE = 128  # small clips are enlarged to it: the flow's patches are 8 pixels wide
MOVING = 0.04  # of the frame's side: what is displaced by less is standing
MOMENTS = 16  # at which two paths are compared
RESTING = 0.002  # of the frame's side: who goes less from one moment to the next rests


def paths(clip: Tensor) -> Array:
    """Where the points of a grid go, each followed from frame to frame.

    Raises:
        ValueError: fewer than two frames.
    """
    import cv2

    if len(clip) < 2:
        raise ValueError("nothing moves in one frame")
    frames = [_grey(frame) for frame in clip]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = frames[0].shape
    size = np.asarray([width, height], np.float32)
    axis = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2) * size - 0.5
    followed = [points]
    for one, two in pairwise(frames):
        x, y = points.astype(np.float32).T
        towards = flow.calc(one, two, np.zeros((height, width, 2), np.float32))
        moved = cv2.remap(towards, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        points = points + moved.reshape(-1, 2)
        followed.append(points)
    return np.asarray(np.stack(followed, 1) / size, np.float32)


def _grey(frame: Tensor) -> npt.NDArray[np.uint8]:
    import cv2

    pixels = frame.clamp(0, 1).mul(255).round().byte().movedim(0, -1).cpu().numpy()
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    scale = max(1, round(FLOW_SIZE / min(grey.shape)))
    return np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)


def reach(followed: Array) -> float:
    """The dynamic degree of a clip by its paths: how far the fastest twentieth of the points goes in all, in sides of the frame. 0 for a frozen
    picture.
    """
    steps = np.linalg.norm(np.diff(followed, axis=1), axis=-1)  # (points, F - 1)
    lengths = np.sort(steps.sum(1))
    return float(lengths[-max(1, len(lengths) // 20) :].mean())


def likeness(followed: Array, reference: Array) -> float:
    """The motion fidelity of two clips by their paths: the mean, over moving points of either, of the best correlation with a moving point of
    the other; in [-1, 1].

    Paths of both are read at as many moments, as displacements from one to the next, of which directions count; two that rest agree. Where
    one clip moves and the other does not it is 0, where neither does 1, and of a clip with itself it is 1.
    """
    ours, theirs = _displacements(followed), _displacements(reference)
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs))
    alike = (ours[:, None] * theirs[None]).sum(-1).mean(-1)  # (points, points)
    return float((alike.max(1).mean() + alike.max(0).mean()) / 2)


def _displacements(followed: Array) -> Array:
    """Of moving points, (M, moments - 1, 3), each of length 1: a direction and 0 or, where a point rests, 0, 0 and 1."""
    moving = np.ptp(followed, axis=1).max(-1) > MOVING
    at = np.linspace(0, followed.shape[1] - 1, MOMENTS)
    low = np.floor(at).astype(int).clip(max=followed.shape[1] - 2)
    share = (at - low)[None, :, None]
    resampled = followed[moving][:, low] * (1 - share) + followed[moving][:, low + 1] * share
    steps = np.diff(resampled, axis=1)
    lengths = np.linalg.norm(steps, axis=-1, keepdims=True)
    rests = lengths < RESTING
    return np.asarray(
        np.concatenate([np.where(rests, 0, steps / np.maximum(lengths, RESTING)), rests], -1), np.float32
    )


__all__ = ["Array", "likeness", "paths", "reach"]
