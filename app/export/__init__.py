"""A finished run as files that others use: a Hugging Face folder, or ONNX."""

from app.export.parser import load_parser

__all__ = ["load_parser"]
