"""A fake engine of known pace, as a Serve application that the real router serves."""
