"""Exports generative guards from Hugging Face folders to guard folders, without torch. README.md says how."""
