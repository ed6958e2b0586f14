"""One file per Ray Serve deployment: constructors wire objects, methods parse, call, render."""
