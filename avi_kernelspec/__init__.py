"""What surrounds the kernel of an AVI's interface: the hub-authenticated Voilà server, its kernels and its headers.

Invariants: every page, kernel and socket needs the hub's sign-in; the browser can never send code to a kernel (native
Voilà's message filter; the extension's socket would accept ``execute_request``); only the one view of the release that
was asked for is served, and no file of the release or of the user-space is.
"""
