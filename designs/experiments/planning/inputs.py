"""Inputs of networks whose data are few: cuts of a recording, mixtures of frames, texts a language model writes."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import torch
from scipy.fft import dct

from traces.arrays import Floats32, Floats64, Integers64

_RATE, _FFT = 16_000, 512
_WINDOW, _STRIDE, _FRAMES = 480, 320, 49  # samples of 30 ms, every 20 ms, over one second
_BANDS, _COEFFICIENTS = 40, 10
_LOWEST_HZ, _HIGHEST_HZ = 20.0, 4000.0


def speech_features(recording: Path, number: int, seed: int = 0) -> Floats32:
    """Return MFCC features of cuts of one second, [number, 49, 10, 1], as keyword spotting takes them.

    Cuts begin at random and overlap; each has a random gain and noise of a random level. The features are those of
    MLPerf Tiny: windows of 30 ms every 20 ms, 40 mel bands from 20 to 4,000 Hz, and the first 10 coefficients.

    Parameters
    ----------
    recording : Path
        WAV file of 16-bit samples at 16 kHz.
    number : int
        Number of cuts.
    seed : int
        Seed of the cuts.
    """
    with wave.open(str(recording)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64) / 32768
    draw = np.random.default_rng(seed)
    bands = _mel_bands()
    features = np.empty((number, _FRAMES, _COEFFICIENTS, 1), dtype=np.float32)
    places = np.arange(_FRAMES)[:, np.newaxis] * _STRIDE + np.arange(_WINDOW)
    for each in range(number):
        begin = int(draw.integers(0, len(samples) - _RATE))
        gain, noise = 10 ** draw.uniform(-0.5, 0.5), 10 ** draw.uniform(-4, -2)
        cut = gain * samples[begin : begin + _RATE] + noise * draw.standard_normal(_RATE)
        spectrum = np.abs(np.fft.rfft(cut[places] * np.hanning(_WINDOW), _FFT))
        energies = np.log(spectrum @ bands + 1e-6)
        features[each, :, :, 0] = dct(energies, type=2, norm="ortho")[:, :_COEFFICIENTS]
    return features


def _mel_bands() -> Floats64:
    """Return the weights of triangular mel bands, [frequencies, bands]."""
    lowest, highest = (float(np.log1p(each / 700)) for each in (_LOWEST_HZ, _HIGHEST_HZ))
    edges = np.linspace(lowest, highest, _BANDS + 2)  # in mel over 1,127
    frequencies = np.log1p(np.fft.rfftfreq(_FFT, 1 / _RATE) / 700)[:, np.newaxis]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)))


def mixed_frames(frames: Floats32, number: int, seed: int = 0) -> Floats32:
    """Return mixtures of two frames each, louder or quieter and with noise, [number, values].

    Parameters
    ----------
    frames : float32 [frames, values]
        Log-mel energies in dB.
    number : int
        Number of mixtures.
    seed : int
        Seed of the mixtures.
    """
    draw = np.random.default_rng(seed)
    first, second = draw.integers(0, len(frames), (2, number))
    share = draw.uniform(0, 1, (number, 1))
    loudness_db = draw.normal(0, 1.5, (number, 1))
    mixed = share * frames[first] + (1 - share) * frames[second] + loudness_db
    return np.asarray(mixed + draw.normal(0, 1.5, mixed.shape), dtype=np.float32)


def sampled_texts(network: torch.nn.Module, number: int, steps: int, seed: int = 0, first: int = 1) -> Integers64:
    """Return texts that a language model writes, each token drawn with its probability, int64 [number, steps].

    Parameters
    ----------
    network : torch.nn.Module
        Language model: tokens [inputs, steps] to logits [inputs, steps, vocabulary].
    number, steps : int
        Number of texts, and their tokens.
    seed : int
        Seed of the draws.
    first : int
        Token that each text begins with.
    """
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.full((number, 1), first, dtype=torch.int64)
    with torch.no_grad():
        while tokens.shape[1] < steps:
            chances = network(tokens)[:, -1].softmax(dim=-1)
            tokens = torch.cat([tokens, torch.multinomial(chances, 1, generator=draw)], dim=1)
    written: Integers64 = tokens.numpy()
    return written
