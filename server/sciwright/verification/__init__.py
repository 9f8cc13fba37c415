"""How far a candidate was proven before it reaches the buffer."""
