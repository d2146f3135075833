"""The Rasa backend: a complete Rasa 3.6 project, what its answers mean, and how they join the embedded engine's judgement.

    config.yml, domain.yml, components/   the project; `components` runs inside Rasa's own Python 3.10 environment
    project.write(folder)                 the project with training data made from nlu/data, ready for `rasa train`
    reading.Reading                       one answer of POST /model/parse; `reading.merge` joins it with our own

`qingting rasa setup|train|serve|compare` runs it (bot/rasa_cli.py); `understanding.engine: rasa` uses it (bot/rasa_engine.py).
"""
