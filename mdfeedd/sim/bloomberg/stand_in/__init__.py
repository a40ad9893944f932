"""The folder that, in front of `sys.path`, makes `import blpapi` find the stand-in.

Data: from the world that is installed, or in the environment (`mdfeedd.sim.bloomberg.installed`); to whoever
calls nextEvent. Never on the path unless a test or a demo puts it there.
"""
