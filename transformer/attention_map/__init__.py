"""What a trained model looked at when it labelled a text, and which words its decision rested on."""
