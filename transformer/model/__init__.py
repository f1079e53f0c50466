"""Networks: arrays in, arrays out.

Axes as the annotations of arrays name them, `*batch` being any number of leading ones:

    batch                    texts of a batch, one or, where packed, several a row
    length                   tokens of a row, padding included
    query_length, key_length the same, where queries and keys may be different ones
    width                    numbers that stand for a token or a text
    heads, head_dim          attention's heads, and the width of a query or key in each; of a value, value_dim
    hidden                   width of a recurrent network's state, and of the layer that scores additively
    gates                    all of a recurrent network's gates, one after the other: a multiple of hidden
    classes, vocabulary      what logits are of
    masked                   places of a row whose tokens are predicted
    layers, members          layers of an encoder that share a program, models of an ensemble
"""
