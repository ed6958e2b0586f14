"""Fine-tune jobs: what was asked, which state they are in, what they report."""
