"""Services that stand in front of a function instead of a Function URL, each a `FrontDoor`.

Routes, authorizers and the services' own timeouts are not emulated. How a service responds to a function that
fails is documented in part; the rest is our choice, in one table in each module.
"""
