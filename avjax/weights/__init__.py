"""Published weights in, our weights out."""
