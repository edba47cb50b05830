"""LoRA and full tuning on this machine."""
