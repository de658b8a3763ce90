"""The same samples through the framework and through every server: do they answer alike?

`compare` measures the difference between two answers, `session` serves one artifact and asks it over every protocol,
`report` shows the result.
"""
