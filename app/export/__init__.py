"""Exports a finished run as a Hugging Face folder or an ONNX file."""

from app.export.parser import load_parser

__all__ = ["load_parser"]
