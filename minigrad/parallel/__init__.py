"""What the processes that train one model together say to each other. `minigrad.distributed` is what users call of it."""
