"""Signals as a terminal has them, for the tests and for all that they start."""

import signal

# whoever runs the tests behind nohup, or in the background of a script, has Ctrl-C ignored by
# every child; a handler of Python's own is what becomes the system's default in a program
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
