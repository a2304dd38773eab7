"""A child process for code that works on strangers' files: it can be killed, and reaches nothing but its file.

sandbox      call a generator function in the child, with a deadline and a memory limit
walls        what keeps the child from files, network and programs
handed_file  the file as the child is handed it, and opening it with PyAV
"""
