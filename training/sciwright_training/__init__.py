"""Fine-tunes the model behind sciwright. It imports `sciwright`, never the other way round."""
