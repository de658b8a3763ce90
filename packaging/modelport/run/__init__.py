"""Where processes are started, and the only place where they are.

`tool` runs short-lived programs, `ports` finds free ports, `service` runs a `ServicePlan` on this machine and ends it.
"""
