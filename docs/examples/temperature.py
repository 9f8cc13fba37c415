import numpy as np

temperature = np.array([21.5, 22.1, 19.8, 23.4])  # °C

# Task: print the mean and standard deviation of temperature
