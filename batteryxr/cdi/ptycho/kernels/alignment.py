"""Alignment of objects: shift, phase ramp and complex factor."""

from __future__ import annotations

import numpy as np

#: Number of pixels that is enough to determine a shift.
_ENOUGH = 50_000


def subpixel_shift(
    image: np.ndarray, reference: np.ndarray, upsample: int = 50
) -> np.ndarray:
    """Return the shift of `image` onto `reference`, in pixels.

    The peak of the cross-correlation, refined on a finer grid by a matrix transform
    (Guizar-Sicairos, Thurman & Fienup, Opt. Lett. 33, 156 (2008)).

    Parameters
    ----------
    image, reference : (y, x)
    upsample
        Steps per pixel.
    """
    import scipy.fft

    product = scipy.fft.fft2(reference) * np.conj(scipy.fft.fft2(image))
    correlation = np.abs(scipy.fft.ifft2(product))
    at = np.array(np.unravel_index(np.argmax(correlation), image.shape), float)
    size = np.array(image.shape)
    at -= size * (at > size / 2)
    reach = np.arange(-1.5, 1.5 + 0.5 / upsample, 1.0 / upsample)
    fy, fx = (np.fft.fftfreq(n) for n in image.shape)
    left = np.exp(2j * np.pi * np.outer(at[0] + reach, fy))
    right = np.exp(2j * np.pi * np.outer(fx, at[1] + reach))
    fine = np.abs(left @ product @ right)
    best = np.unravel_index(np.argmax(fine), fine.shape)
    return at + reach[np.array(best)]


class Drift:
    """Find shifts between images of different contrast.

    Across an absorption edge the phase of each part of a sample changes by itself, and
    the peak of a correlation moves with it. Here the difference to the reference is
    fitted, by least squares, with a shift, a change of contrast that varies smoothly
    over the image, an offset and a ramp.

    Parameters
    ----------
    reference : (y, x)
        Complex, the mean of all images.
    phase : (y, x)
        Unwrapped phase of the reference.
    where : (y, x)
        Pixels that count.
    degree
        Degree of the polynomial of the contrast.
    """

    def __init__(
        self,
        reference: np.ndarray,
        phase: np.ndarray,
        where: np.ndarray,
        degree: int = 5,
    ) -> None:
        step = int(np.ceil(np.sqrt(where.sum() / _ENOUGH))) or 1
        few = np.zeros_like(where, bool)
        few[::step, ::step] = where[::step, ::step]
        self._few, self._against = few, np.conj(reference[few])
        y, x = (np.linspace(-1.0, 1.0, n) for n in phase.shape)
        down, right = (np.polynomial.legendre.legvander(v, degree) for v in (y, x))
        smooth = [
            np.outer(down[:, i], right[:, j])[few]
            for i in range(degree + 1)
            for j in range(degree + 1 - i)
        ]
        plane = [
            np.ones(few.sum()),
            *(np.broadcast_to(v, phase.shape)[few] for v in (y[:, None], x[None, :])),
        ]
        slopes = [g[few] for g in np.gradient(phase)]
        columns = [*slopes, *(phase[few] * p for p in smooth), *plane]
        self._solve = np.linalg.pinv(np.stack(columns, axis=-1))[:2]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the shift of `image` (2,), in pixels, at most one along each axis."""
        difference = np.angle(image[self._few] * self._against)
        return np.clip(self._solve @ difference, -1.0, 1.0)


def shifted(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Shift `image` by fractions of pixels, through its transform."""
    import scipy.fft

    if not np.any(shift):
        return image
    fy, fx = (np.fft.fftfreq(n) for n in image.shape)
    factor = np.outer(
        np.exp(-2j * np.pi * shift[0] * fy), np.exp(-2j * np.pi * shift[1] * fx)
    )
    moved = scipy.fft.ifft2(scipy.fft.fft2(image) * factor)
    return moved.astype(image.dtype) if np.iscomplexobj(image) else moved.real


def resampled(
    image: np.ndarray,
    from_y: np.ndarray,
    from_x: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    *,
    order: int = 3,
    outside: float | None = None,
) -> np.ndarray:
    """Return `image` at places y, x by splines; unchanged where the grids agree.

    Axes may rise or fall, evenly. Beyond the image, values are `outside`, or those of
    its edge.
    """
    from scipy import ndimage

    rows = (y - from_y[0]) / (from_y[1] - from_y[0])
    columns = (x - from_x[0]) / (from_x[1] - from_x[0])
    near_y, near_x = np.rint(rows), np.rint(columns)
    same = max(abs(rows - near_y).max(), abs(columns - near_x).max()) < 1e-6
    ends = ((v.min(), v.max()) for v in (near_y, near_x))
    pairs = zip(ends, image.shape, strict=True)
    if same and all(low >= 0 and high < n for (low, high), n in pairs):
        return image[np.ix_(near_y.astype(int), near_x.astype(int))]
    at = np.meshgrid(rows, columns, indexing="ij")

    def spline(part: np.ndarray) -> np.ndarray:
        return ndimage.map_coordinates(part, at, order=order, mode="nearest")

    two = np.iscomplexobj(image)
    found = spline(image.real) + 1j * spline(image.imag) if two else spline(image)
    if outside is not None:
        sides = zip((rows, columns), image.shape, strict=True)
        beyond = [(v < -0.5) | (v > n - 0.5) for v, n in sides]
        found[beyond[0][:, None] | beyond[1][None, :]] = outside
    return found


def phase_ramp(ratio: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the slopes (y, x) of the phase of `ratio` in rad per pixel.

    A first estimate comes from neighbours, which cannot wrap; least squares refine it.

    Parameters
    ----------
    ratio : (y, x)
        Complex; its phase is a ramp with deviations below π.
    weight : (y, x)
    """
    a = ratio * weight
    slopes = np.array(
        [
            np.angle(np.sum(a[1:] * np.conj(ratio[:-1] * weight[:-1]))),
            np.angle(np.sum(a[:, 1:] * np.conj(ratio[:, :-1] * weight[:, :-1]))),
        ]
    )
    y, x = np.meshgrid(*(np.arange(n, dtype=float) for n in ratio.shape), indexing="ij")
    for _ in range(3):
        left = ratio * np.exp(-1j * (slopes[0] * y + slopes[1] * x))
        left = left * np.exp(-1j * np.angle(np.sum(left * weight)))
        phase = np.angle(left)
        columns = np.stack([y, x, np.ones_like(y)], -1).reshape(-1, 3)
        root = np.sqrt(weight).reshape(-1, 1)
        found = np.linalg.lstsq(
            columns * root, phase.reshape(-1) * root[:, 0], rcond=None
        )[0]
        slopes = slopes + found[:2]
    return slopes


def flattened(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return `image` without phase ramp and complex factor where `weight` is vacuum.

    The mean in vacuum becomes 1.

    Parameters
    ----------
    image : (y, x)
        Complex transmission.
    weight : (y, x)
        1 in vacuum, 0 elsewhere.
    """
    slopes = phase_ramp(image, weight)
    y = np.arange(image.shape[0])[:, None]
    x = np.arange(image.shape[1])[None, :]
    flat = image * np.exp(-1j * (slopes[0] * y + slopes[1] * x))
    mean = np.sum(flat * weight) / np.sum(weight)
    phase = np.exp(1j * np.angle(mean))
    modulus = np.sum(np.abs(flat) * weight) / np.sum(weight)
    return (flat / (phase * modulus)).astype(image.dtype)


def aligned(
    image: np.ndarray, reference: np.ndarray, weight: np.ndarray, rounds: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Align `image` to `reference`; return it, and the shift.

    Ramp and factor are fitted in turns with the shift, from the linear response to it.
    The result has none of the freedoms that ptychography leaves to an object.

    Parameters
    ----------
    image, reference : (y, x)
        Complex.
    weight : (y, x)
        Weight of each pixel in the comparison.
    """
    total = np.zeros(2)
    current = image
    for number in range(rounds):
        slopes = phase_ramp(current * np.conj(reference), weight)
        y = np.arange(image.shape[0])[:, None]
        x = np.arange(image.shape[1])[None, :]
        current = current * np.exp(-1j * (slopes[0] * y + slopes[1] * x))
        factor = np.sum(reference * np.conj(current) * weight)
        factor /= np.sum(np.abs(current) ** 2 * weight)
        current = current * factor
        if number == rounds - 1:
            break
        step = _small_shift(current, reference, weight)
        if number == 0 and np.linalg.norm(step) > 0.7:
            step = subpixel_shift(
                np.angle(current) * weight, np.angle(reference) * weight
            )
        total = total + step
        current = shifted(current, step)
    return current.astype(image.dtype), total


def _small_shift(
    image: np.ndarray, reference: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    # reference ≈ c (image - s·∇image): the shift and the change of the factor at once.
    gy, gx = np.gradient(image)
    columns = np.stack([-gy, -gx, image, 1j * image], -1).reshape(-1, 4)
    root = np.sqrt(weight).reshape(-1, 1)
    left = columns * root
    right = ((reference - image) * root.reshape(image.shape)).reshape(-1)
    matrix = np.real(np.conj(left.T) @ left)
    found = np.linalg.lstsq(matrix, np.real(np.conj(left.T) @ right), rcond=None)[0]
    return found[:2]


def unwrapped(phase: np.ndarray, vacuum: np.ndarray) -> np.ndarray:
    """Return a phase (y, x) without jumps of 2π, around 0 in vacuum.

    The number of whole turns of each pixel follows from the least-squares surface of
    Ghiglia & Romero, J. Opt. Soc. Am. A 11, 107 (1994).
    """
    from scipy.fft import dctn, idctn

    steps = [np.diff(phase, axis=axis) for axis in (0, 1)]
    if max(np.abs(s).max(initial=0.0) for s in steps) < np.pi:
        return phase
    down, right = ((s + np.pi) % (2 * np.pi) - np.pi for s in steps)
    curvature = np.zeros(phase.shape)
    curvature[:-1] += down
    curvature[1:] -= down
    curvature[:, :-1] += right
    curvature[:, 1:] -= right
    cosines = [np.cos(np.pi * np.arange(n) / n) for n in phase.shape]
    scale = 2.0 * (cosines[0][:, None] + cosines[1][None, :] - 2.0)
    scale[0, 0] = 1.0
    difference = idctn(dctn(curvature) / scale) - phase
    difference -= np.median(difference[vacuum])
    return phase + 2 * np.pi * np.rint(difference / (2 * np.pi))
