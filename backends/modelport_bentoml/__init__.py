"""The backend that compiles a model into a Bento, and serves it with BentoML.

`tag` finds the Bento's name, `options` says what a spec may ask of BentoML alone, `project` plans the folder that
``bentoml build`` takes, `render` writes its texts, `bento` runs that build and makes its result reproducible, and
`backend` joins them.
"""
