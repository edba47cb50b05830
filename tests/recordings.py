"""Sounds that rows hold."""

import io
import wave


def wav(seconds: int, frame: bytes = b"\0\0") -> bytes:
    """Return a recording of one channel that repeats a frame of two bytes, 8,000 a second."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(frame * 8000 * seconds)
    return file.getvalue()
