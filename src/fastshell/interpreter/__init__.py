"""The user's Python: IPython on the threads of shells. The only layer that imports IPython.

Importing this package does not import IPython yet: kernel_info is answered before.
"""
